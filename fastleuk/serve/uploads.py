"""From a request's body to the files in it: in memory, within the limits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from fastleuk.serve.limits import Budget, Limits, Refused

MULTIPART = "multipart/form-data"
RAW = ("application/octet-stream", "image/")
EXPECTED = f"Send {MULTIPART} with files, or one image as the body (image/png and the like)."
CURL = "With curl: -F images=@cell.png, or --data-binary @cell.png -H 'Content-Type: image/png'."


@dataclass(frozen=True, slots=True)
class Upload:
    """A file of a request.

    Attributes:
        name: As the client calls it; nothing is looked up by it.
        data: Its bytes.
    """

    name: str
    data: bytes


@asynccontextmanager
async def uploads(request: Request, limits: Limits, budget: Budget) -> AsyncIterator[list[Upload]]:
    """Receive the files of a request, which are held until the context ends.

    Raises:
        Refused: too many or too large files, another type, no file, or a body that is damaged or
            does not go on.
    """
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind != MULTIPART and not kind.startswith(RAW):
        raise Refused(415, f"The content type is {kind or 'missing'}. {EXPECTED} {CURL}")
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limits.request_bytes:
        raise too_large(limits)
    held = [0]
    try:
        body = _bounded(request, limits, budget, held)
        if kind == MULTIPART:
            found = await _files(request, body, limits)
        else:
            found = [Upload("image", b"".join([chunk async for chunk in body]))]
            if not found[0].data:
                raise Refused(400, f"The body is empty. {EXPECTED}")
        yield found
    finally:
        budget.give_back(held[0])


def too_large(limits: Limits) -> Refused:
    """Return the refusal of a request that is too large."""
    return Refused(
        413, f"A request holds at most {limits.request_mb:g} MB: send fewer images at once."
    )


async def _bounded(
    request: Request, limits: Limits, budget: Budget, held: list[int]
) -> AsyncGenerator[bytes, None]:
    """Yield the body; what is held of it is counted in ``held[0]``."""
    stream = request.stream()
    while True:
        try:
            chunk = await asyncio.wait_for(anext(stream), limits.seconds)
        except StopAsyncIteration:
            return
        except (TimeoutError, asyncio.TimeoutError):  # two classes before Python 3.11
            raise Refused(408, f"Nothing came for {limits.seconds:g} seconds.") from None
        except ClientDisconnect:
            raise Refused(400, "The connection was closed before the request was whole.") from None
        if held[0] + len(chunk) > limits.request_bytes:
            raise too_large(limits)
        budget.take(len(chunk))
        held[0] += len(chunk)
        yield chunk


class _InMemory(MultiPartParser):
    """Starlette's parser, whose files never leave memory: the body is bounded already."""

    spool_max_size = 1 << 62


async def _files(
    request: Request, body: AsyncGenerator[bytes, None], limits: Limits
) -> list[Upload]:
    parser = _InMemory(request.headers, body, max_files=limits.images, max_fields=100)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        if error.message.startswith("Too many files"):
            raise Refused(
                413, f"A request holds at most {limits.images} images: send them in several."
            ) from error
        raise Refused(400, f"The body is no sound {MULTIPART}: {error.message}") from error
    try:
        files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
        found = [Upload(file.filename or "image", await file.read()) for file in files]
    finally:
        await form.close()
    if not found:
        raise Refused(400, f"There is no file in the request. {EXPECTED}")
    return found
