"""What is around every request: counting, a browser's headers, and the end of a refused upload."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

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


class Around:
    """Counts requests, and sets headers that keep a browser from doing more than it must.

    A request that is refused before its body has come is answered at once, and what still comes is
    thrown away for a while: a client that sends all before it reads would otherwise see a broken
    connection instead of the reason.

    Args:
        app: What answers.
        service: Its limits and metrics.
    """

    def __init__(self, app: Callable[..., Awaitable[None]], service: Service) -> None:
        self._app, self._service = app, service

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request, as ASGI has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = _Body(scope, receive)
        begun, status, took = time.perf_counter(), [500], [0.0]

        async def told(message: Any) -> None:
            if message["type"] == "http.response.start":
                status[0] = message["status"]
                extra = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message["headers"], *extra]}
            elif not message.get("more_body", False):
                took[0] = time.perf_counter() - begun
                if status[0] >= 400 and body.may_come:
                    await send({**message, "more_body": True})
                    await body.throw_away(self._service.limits.seconds)
                    message = {"type": "http.response.body", "body": b""}
            await send(message)

        try:
            await self._app(scope, body.receive, told)
        finally:
            path = scope["path"] if scope["path"] in _KNOWN else "other"
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
