"""Notices that the machine, or this process, stood still: time limits say nothing then."""

from __future__ import annotations

import threading
import time

TICK, LATE = 0.5, 20.0
"""Seconds between two looks at the clock, and above which the gap was a pause."""


class Pauses:
    """Looks at the clock all the time.

    Attributes:
        count: How many pauses there were.
    """

    def __init__(self) -> None:
        self.count = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        before = time.monotonic()
        while not self._ended.wait(TICK):
            now = time.monotonic()
            self.count += now - before > LATE
            before = now

    def settle(self) -> int:
        """Return the count, the present moment included."""
        time.sleep(2 * TICK)
        return self.count

    def end(self) -> None:
        """Stop looking."""
        self._ended.set()
        self._thread.join()
