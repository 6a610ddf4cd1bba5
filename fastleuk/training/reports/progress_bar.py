"""The progress bar of an epoch, and where its time went."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import TypeVar

from tqdm import tqdm

from fastleuk.run_log import quiet

Item = TypeVar("Item")


class EpochBar:
    """A bar with images/s and the share of time spent waiting for data.

    The bar shows on a terminal only. Times are of the host: on a GPU they are exact over an
    epoch, which ends with a synchronisation, and approximate in between.

    Args:
        title: Text before the bar.
        total: Batches in the epoch.
        done: Batches that were done before (a resumed epoch).
        hidden: Show no bar on a terminal either.
    """

    def __init__(self, title: str, *, total: int, done: int = 0, hidden: bool = False) -> None:
        self._bar = tqdm(
            total=total,
            initial=done,
            desc=title,
            unit="batch",
            leave=False,
            disable=hidden or quiet() or None,
        )
        self._started = time.perf_counter()
        self._ended: float | None = None
        self._waited = 0.0
        self._images = 0

    def __enter__(self) -> EpochBar:
        """Start the clock."""
        self._started = time.perf_counter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the clock and take the bar away."""
        self._ended = time.perf_counter()
        self._bar.close()

    def timed(self, batches: Iterable[Item]) -> Iterator[Item]:
        """Yield the batches, counting the time that each ``next`` takes as waiting."""
        iterator = iter(batches)
        while True:
            before = time.perf_counter()
            try:
                batch = next(iterator)
            except StopIteration:
                return
            finally:
                self._waited += time.perf_counter() - before
            yield batch

    def advance(self, images: int) -> None:
        """Count a finished batch of ``images`` images."""
        self._images += images
        self._bar.update()
        if not self._bar.disable:
            timing = self.timing
            self._bar.set_postfix_str(
                f"{timing['images_per_s']:.0f} images/s, data wait {timing['data_wait']:.1%}",
                refresh=False,
            )

    @property
    def timing(self) -> dict[str, float]:
        """``seconds``, ``images_per_s`` and ``data_wait`` (share of the seconds) so far."""
        seconds = max((self._ended or time.perf_counter()) - self._started, 1e-9)
        return {
            "seconds": round(seconds, 3),
            "images_per_s": round(self._images / seconds, 2),
            "data_wait": round(self._waited / seconds, 4),
        }
