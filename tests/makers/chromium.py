"""A headless Chromium, driven through its own pipe: no package needed."""

import base64
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path

import pytest


def find_chromium() -> str:
    """Return the browser's path, or skip the test by name."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        path = shutil.which(name)
        if path:
            return path
    pytest.skip("Chromium is not installed (apt-get install chromium)")


class Chromium:
    """A browser with one page at a time; a context manager."""

    def __init__(self, profile: Path) -> None:
        command_out, self._in = os.pipe()
        self._out, result_in = os.pipe()
        flags = [
            "--headless", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu",
            "--disable-background-networking", "--hide-scrollbars", "--no-first-run",
            f"--user-data-dir={profile}",
        ]  # fmt: skip
        script = f'exec "$0" "$@" 3<&{command_out} 4>&{result_in}'
        self._process = subprocess.Popen(
            ["bash", "-c", script, find_chromium(), *flags],
            pass_fds=(command_out, result_in),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(command_out)
        os.close(result_in)
        self._number, self._buffer, self._events = 0, b"", []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.call("Browser.close")
        finally:
            os.close(self._in)
            os.close(self._out)
            self._process.wait(timeout=60)

    def _message(self, timeout):
        until = time.monotonic() + timeout
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._out], [], [], max(0, until - time.monotonic()))
            if not ready:
                raise TimeoutError("Chromium does not answer")
            self._buffer += os.read(self._out, 1 << 20)
        text, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(text)

    def call(self, method, session=None, timeout=120, **params):
        """Call a method of the DevTools protocol; events that come meanwhile are kept."""
        self._number += 1
        command = {"id": self._number, "method": method, "params": params}
        if session:
            command["sessionId"] = session
        os.write(self._in, json.dumps(command).encode() + b"\0")
        while True:
            message = self._message(timeout)
            if message.get("id") == self._number:
                assert "error" not in message, (method, message["error"])
                return message["result"]
            self._events.append(message)

    def open(self, url, *, width=1280, height=900, dark=False, phone=False):
        """Open a page and wait until it is loaded."""
        return Page(self, url, width=width, height=height, dark=dark, phone=phone)


class Page:
    """A page that is open; ``problems`` lists what went wrong in it, and what it fetched."""

    def __init__(self, browser, url, *, width, height, dark, phone):
        self._browser = browser
        target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        attached = browser.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session, self._target = attached["sessionId"], target
        self._width = width
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=phone,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=url)
        until = time.monotonic() + 120
        while self.evaluate("document.readyState") != "complete" or url not in self.evaluate(
            "location.href"
        ):
            assert time.monotonic() < until, "the page does not load"
            time.sleep(0.05)
        self.evaluate("new Promise(done => requestAnimationFrame(() => done(1)))")

    def call(self, method, **params):
        return self._browser.call(method, session=self._session, **params)

    def evaluate(self, script):
        """Return the value of JavaScript."""
        found = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    @property
    def problems(self):
        """Errors and warnings of the console, exceptions, and requests that left the page."""
        found = []
        for event in self._browser._events:
            if event.get("sessionId") != self._session:
                continue
            method, params = event["method"], event["params"]
            if method == "Runtime.exceptionThrown":
                found.append(params["exceptionDetails"]["text"])
            elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
                found.append(str(params["args"]))
            elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
                found.append(params["entry"]["text"])
            elif method == "Network.requestWillBeSent":
                url = params["request"]["url"]
                if not url.startswith(("data:", "file:", "about:")):
                    found.append(f"request: {url}")
        return found

    def press(self, key):
        """Press a key, such as ``Tab`` or ``ArrowRight``."""
        codes = {"Tab": 9, "ArrowRight": 39, "Enter": 13, " ": 32}
        common = {"key": key, "code": key, "windowsVirtualKeyCode": codes[key]}
        if key in ("Enter", " "):
            common["text"] = "\r" if key == "Enter" else " "
        self.call("Input.dispatchKeyEvent", type="keyDown", **common)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def screenshot(self, path, *, top=0, height=None):
        """Write the whole page, or ``height`` pixels of it from ``top`` on, as a PNG."""
        tall = self.evaluate("document.documentElement.scrollHeight")
        clip = {"x": 0, "y": top, "width": self._width, "height": height or tall - top, "scale": 1}
        shot = self.call(
            "Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True
        )
        Path(path).write_bytes(base64.b64decode(shot["data"]))

    def pdf(self, path):
        """Print to A4."""
        printed = self.call("Page.printToPDF", printBackground=False, preferCSSPageSize=True)
        Path(path).write_bytes(base64.b64decode(printed["data"]))

    def close(self):
        self._browser.call("Target.closeTarget", targetId=self._target)
