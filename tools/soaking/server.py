"""A server that lives as long as the soak does, and clients that treat it badly."""

from __future__ import annotations

import http.client
import json
import re
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

from soaking.place import Loss, Place

STARTS = 120
"""Seconds in which the server must answer."""


@dataclass(frozen=True)
class Sample:
    """What the server's process holds.

    Attributes:
        seconds: Since the server answered first.
        resident_mb: Memory that is in use.
        files: Open files, sockets and pipes.
        threads: Threads.
    """

    seconds: float
    resident_mb: float
    files: int
    threads: int


class Server:
    """``fastleuk serve`` in a process of its own.

    Args:
        place: Where it runs.
        run: What it serves.
        images: Of which it is asked again and again.
        rng: Chooses.

    Raises:
        Loss: it does not start.
    """

    def __init__(self, place: Place, run: Path, images: Sequence[Path], rng: Random) -> None:
        self.rng, self.samples = rng, list[Sample]()
        self._log = place.folder / "serve.log"
        with self._log.open("w") as log:
            words = ("serve", run, "--port", 0, "--device", "cpu", "--max-image-mb", 2)
            self.process = place.start(words, log.fileno())
        self.port = self._port()
        self._begun = time.monotonic()
        self._files = [(path.name, path.read_bytes()) for path in images]
        self._expected = self._predicted()
        self.faults: dict[str, Callable[[], None]] = {
            "garbage upload": self.garbage,
            "dropped connection": self.drop,
            "garbage instead of HTTP": self.nonsense,
            "too large upload": self.large,
            "burst": self.burst,
        }

    def disturb(self, fault: str) -> None:
        """Treat the server badly, and ask it as before.

        Raises:
            Loss: it answers otherwise than promised, or otherwise than before.
        """
        self.faults[fault]()
        self.check()

    def check(self) -> None:
        """Compare its answer with the first one.

        Raises:
            Loss: it is another, or there is none.
        """
        if self.process.poll() is not None:
            raise Loss(f"the server has ended with {self.process.returncode}: {self.said()}")
        found = self._predicted()
        if not _same(found, self._expected):
            raise Loss(f"the server answers {found}, and at first {self._expected}")
        if self._ask("GET", "/health", None, {})[0] != 200:
            raise Loss("the server says that it is ill")

    def garbage(self) -> None:
        """Send a file that is no image, alone (422) or among others (a row with an error)."""
        alone = self.rng.random() < 0.5
        bad = ("bad.png", self.rng.randbytes(self.rng.randrange(1, 20_000)))
        status, answer = self._post([bad] if alone else [*self._files, bad])
        row = answer["predictions"][-1]
        if status != (422 if alone else 200) or not row["error"]:
            raise Loss(f"a file that is no image: {status} {row}")
        if not alone and not _same(_said(answer)[:-1], self._expected):
            raise Loss("a file that is no image changes what is said of the others")

    def drop(self) -> None:
        """Close the connection within the request, or before the answer is read."""
        body, kind = _form(self._files)
        head = (
            f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode()
        sent = head + body
        with self._connected() as connection:
            connection.sendall(sent[: self.rng.choice([len(sent), self.rng.randrange(len(sent))])])
            time.sleep(self.rng.random() * 0.05)

    def nonsense(self) -> None:
        """Send bytes that are no HTTP: they are refused, or the connection is closed."""
        with self._connected() as connection:
            connection.sendall(self.rng.randbytes(self.rng.randrange(1, 5000)) + b"\r\n\r\n")
            connection.settimeout(20)
            try:
                answer = connection.recv(1000)
            except ConnectionResetError:
                return
        if answer and b" 400 " not in answer.splitlines()[0]:
            raise Loss(f"bytes that are no HTTP: {answer!r}")

    def large(self) -> None:
        """Send more megabytes than an image may have."""
        status, answer = self._post([("large.bmp", bytes(3 << 20))])
        if status not in (413, 422):
            raise Loss(f"an image of 3 MB, where 2 are allowed: {status} {answer}")

    def burst(self) -> None:
        """Ask from many threads at once: each is answered right, or told to come again."""

        def ask(_number: int) -> None:
            status, answer = self._post(self._files)
            if status == 200 and not _same(_said(answer), self._expected):
                raise Loss(f"in a burst the server answers {answer}")
            if status not in (200, 503):
                raise Loss(f"in a burst: {status} {answer}")

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(ask, range(24)))

    def sample(self) -> Sample:
        """Note what the process holds."""
        there = Path("/proc") / str(self.process.pid)
        status = (there / "status").read_text()
        resident = int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) / 1024
        threads = int(re.findall(r"Threads:\s+(\d+)", status)[0])
        files = len(list((there / "fd").iterdir()))
        seconds = time.monotonic() - self._begun
        self.samples.append(Sample(round(seconds, 1), round(resident, 1), files, threads))
        return self.samples[-1]

    def end(self) -> None:
        """Send SIGTERM.

        Raises:
            Loss: it does not end, or not well.
        """
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise Loss("the server did not end within 30 s of SIGTERM") from None
        if self.process.returncode not in (0, -signal.SIGTERM, 128 + signal.SIGTERM):
            raise Loss(f"the server ended with {self.process.returncode}: {self.said()}")
        if "Traceback" in self.said():
            raise Loss(f"the server wrote a traceback: {self.said()}")

    def said(self) -> str:
        """Return the end of what the server has written."""
        return self._log.read_text(errors="replace")[-4000:]

    def told(self) -> dict[str, object]:
        """Return the first, last and largest sample, and all of them."""
        first, last = self.samples[0], self.samples[-1]
        most = {
            name: max(getattr(each, name) for each in self.samples)
            for name in ("resident_mb", "files", "threads")
        }
        rows = [list(asdict(each).values()) for each in self.samples]
        return {"first": asdict(first), "last": asdict(last), "most": most, "samples": rows}

    def _port(self) -> int:
        until = time.monotonic() + STARTS
        while time.monotonic() < until and self.process.poll() is None:
            found = re.search(r"http://127\.0\.0\.1:(\d+)", self.said())
            if found and self._answers(int(found[1])):
                return int(found[1])
            time.sleep(0.2)
        self.process.kill()
        raise Loss(f"the server does not start: {self.said()}")

    def _answers(self, port: int) -> bool:
        self.port = port
        try:
            return self._ask("GET", "/health", None, {})[0] == 200
        except OSError:
            return False

    def _connected(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def _ask(self, method: str, path: str, body: bytes | None, headers: dict) -> tuple[int, dict]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def _post(self, files: Sequence[tuple[str, bytes]]) -> tuple[int, dict]:
        body, kind = _form(files)
        return self._ask("POST", "/predict", body, {"Content-Type": kind})

    def _predicted(self) -> Said:
        for _ in range(100):
            status, answer = self._post(self._files)
            if status == 200:
                return _said(answer)
            if status != 503:
                break
            time.sleep(0.1)
        raise Loss(f"the server does not predict: {status} {answer}")


Said = list[tuple[str, str | None, list[float]]]
"""Name, label and probabilities of each image."""


def _said(answer: dict) -> Said:
    return [
        (row["name"], row["label"], list((row["probabilities"] or {}).values()))
        for row in answer["predictions"]
    ]


def _same(found: Said, expected: Said) -> bool:
    """Batches of other sizes round the last digits otherwise."""
    return [each[:2] for each in found] == [each[:2] for each in expected] and all(
        abs(p - q) < 1e-5
        for each, other in zip(found, expected, strict=True)
        for p, q in zip(each[2], other[2], strict=True)
    )


def _form(files: Sequence[tuple[str, bytes]]) -> tuple[bytes, str]:
    edge = uuid.uuid4().hex
    parts = []
    for name, data in files:
        disposition = f'form-data; name="images"; filename="{name}"'
        parts.append(f"--{edge}\r\nContent-Disposition: {disposition}\r\n\r\n".encode() + data)
    return b"\r\n".join(
        [*parts, f"--{edge}--\r\n".encode()]
    ), f"multipart/form-data; boundary={edge}"
