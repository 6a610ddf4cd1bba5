"""What a server takes at most, and how it refuses more."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from fastleuk.errors import ConfigError

MEGABYTE = 1 << 20


class Refused(Exception):
    """A request that is not served.

    Args:
        status: Of HTTP.
        detail: What was found, and what to do.
        retry_after: Seconds after which to try again; None: trying again is of no use.
    """

    def __init__(self, status: int, detail: str, *, retry_after: int | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.retry_after = status, detail, retry_after


@dataclass(frozen=True, slots=True)
class Limits:
    """What is taken at most.

    Attributes:
        images: Of a request.
        image_mb: Megabytes of an image file.
        request_mb: Megabytes of a request.
        megapixels: Of a decoded image. A cell crop has 0.2.
        seconds: Between two pieces of a body that is sent.

    Raises:
        ConfigError: one of them is not above 0.
    """

    images: int = 100
    image_mb: float = 20.0
    request_mb: float = 64.0
    megapixels: float = 4.0
    seconds: float = 30.0

    def __post_init__(self) -> None:
        for name in ("images", "image_mb", "request_mb", "megapixels", "seconds"):
            if not getattr(self, name) > 0:
                option = f"--max-{name.replace('_', '-')}"
                raise ConfigError(f"{option} is {getattr(self, name)}, but must be above 0.")

    @property
    def image_bytes(self) -> int:
        """Bytes of an image file."""
        return int(self.image_mb * MEGABYTE)

    @property
    def request_bytes(self) -> int:
        """Bytes of a request."""
        return int(self.request_mb * MEGABYTE)

    @property
    def budget_bytes(self) -> int:
        """Bytes of all requests that are being received or answered."""
        return 8 * self.request_bytes

    @property
    def pixels(self) -> int:
        """Pixels of a decoded image."""
        return int(self.megapixels * 1_000_000)


class Budget:
    """Bytes that are held for requests at once.

    Args:
        total: At most so many.
    """

    def __init__(self, total: int) -> None:
        self._total, self._held, self._lock = total, 0, threading.Lock()

    @property
    def held(self) -> int:
        """Bytes in use."""
        return self._held

    def take(self, count: int) -> None:
        """Take ``count`` bytes.

        Raises:
            Refused: there are not so many left; 503.
        """
        with self._lock:
            if self._held + count > self._total:
                raise Refused(
                    503, "The server holds as many uploads as it can. Try again.", retry_after=1
                )
            self._held += count

    def give_back(self, count: int) -> None:
        """Give ``count`` bytes back."""
        with self._lock:
            self._held -= count
