"""What is around every request: counting, a browser's headers, and the end of a refused upload."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from starlette.responses import JSONResponse, RedirectResponse

from fastleuk.serve.service import Service

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}

_KNOWN = ("/predict", "/explain", "/info", "/health", "/metrics", "/")


class KnownHosts:
    """Refuses requests by other names than the server's own, against DNS rebinding.

    A web page elsewhere could otherwise resolve its own name to this machine and read the answers.

    Args:
        app: What answers.
        names: Host names and addresses, without ports; ``*.NAME`` is any name below it.
    """

    def __init__(self, app: Callable[..., Awaitable[None]], names: Sequence[str]) -> None:
        self._app, self._names = app, [name.lower() for name in names]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request, or refuse it."""
        headers = scope.get("headers", ())  # none where uvicorn starts and ends the app
        host = next((value for key, value in headers if key == b"host"), b"")
        name = re.sub(r":\d*$", "", host.decode("latin-1")).lower()
        if scope["type"] != "http" or any(_matches(name, known) for known in self._names):
            await self._app(scope, receive, send)
            return
        shown = name if re.fullmatch(r"[\w.:\[\]-]{1,100}", name, re.ASCII) else "NAME"
        detail = (
            f"Host {shown!r}: not a name of this server. Behind a proxy, start fastleuk serve with "
            f"--allowed-hosts {shown} or a --token, and with --root-path /PREFIX if the proxy adds "
            "a path. To let other machines in without a proxy: --host ADDRESS and a --token."
        )
        await JSONResponse({"detail": detail}, 400)(scope, receive, send)


def _matches(name: str, known: str) -> bool:
    return name == known or (known.startswith("*.") and name.endswith(known[1:]))


class Around:
    """Counts requests, answers HEAD as GET without a body, and sets headers for browsers.

    The headers keep a browser from doing more than it must.

    A request that is refused before its body has come is answered at once, and what still comes is
    thrown away for a while: a client that sends all before it reads would otherwise see a broken
    connection instead of the reason.

    Args:
        app: What answers.
        service: Its limits and metrics.
        root_path: Path that a proxy puts in front; requests may come with it or without.
    """

    def __init__(
        self, app: Callable[..., Awaitable[None]], service: Service, root_path: str = ""
    ) -> None:
        self._app, self._service, self._root = app, service, root_path

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request, as ASGI has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._root and scope["path"] == self._root:  # the page's addresses are relative
            await RedirectResponse(f"{self._root}/")(scope, receive, send)
            return
        head = scope["method"] == "HEAD"
        method = "GET" if head else scope["method"]
        scope = {**scope, "method": method, "root_path": self._root}
        body = _Body(scope, receive)
        begun, status, took = time.perf_counter(), [500], [0.0]

        async def told(message: Any) -> None:
            if message["type"] == "http.response.start":
                status[0] = message["status"]
                extra = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message["headers"], *extra]}
            elif head:
                message = {**message, "body": b""}
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                took[0] = time.perf_counter() - begun
                if status[0] >= 400 and body.may_come:
                    await send({**message, "more_body": True})
                    await body.throw_away(self._service.limits.seconds)
                    message = {"type": "http.response.body", "body": b""}
            await send(message)

        try:
            await self._app(scope, body.receive, told)
        finally:
            path = scope["path"].removeprefix(self._root)
            path = path if path in _KNOWN else "other"
            seconds = took[0] or time.perf_counter() - begun
            self._service.metrics.request(path, status[0], seconds)


class _Body:
    """The body of a request, of which it is known whether all of it has come."""

    def __init__(self, scope: Any, receive: Any) -> None:
        self._receive, self._ended, self._begun = receive, scope["method"] in ("GET", "HEAD"), False
        # Such a client sends nothing before it is asked to.
        self._waits = (b"expect", b"100-continue") in scope["headers"]

    @property
    def may_come(self) -> bool:
        """Whether some of it may still come."""
        return not self._ended and (self._begun or not self._waits)

    async def receive(self) -> Any:
        """Return the next message."""
        self._begun = True
        message = await self._receive()
        self._ended = message["type"] != "http.request" or not message.get("more_body", False)
        return message

    async def throw_away(self, seconds: float) -> None:
        """Receive the rest, for so long at most."""

        async def rest() -> None:
            while not self._ended:
                await self.receive()

        try:
            await asyncio.wait_for(rest(), seconds)
        except (TimeoutError, asyncio.TimeoutError):  # two classes before Python 3.11
            return
