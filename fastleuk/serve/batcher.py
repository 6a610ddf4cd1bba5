"""Images of several requests, shown to the networks together."""

from __future__ import annotations

import heapq
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from fastleuk.loading.images.encoded import Encoded
from fastleuk.predict.ensemble import Scored
from fastleuk.serve.limits import Refused

LONGEST_AWAY = 30
"""Seconds after which everybody who was refused may come back."""

Score = Callable[[Sequence[Encoded]], Scored]


@dataclass(frozen=True, slots=True)
class One:
    """What is said of one image.

    Attributes:
        probabilities: One for each class; empty where there is an error.
        label: Of the class; -1 where there is an error.
        spread: Between several runs.
        error: Why there is no prediction.
        note: What of the image is not used as it stands.
    """

    probabilities: tuple[float, ...] = ()
    label: int = -1
    spread: float | None = None
    error: str = ""
    note: str = ""


@dataclass(eq=False, slots=True)
class _Job:
    """Images of one request."""

    images: Sequence[Encoded]
    future: Future[list[One]]
    results: list[One | None] = field(default_factory=list)
    left: int = 0


class Batcher:
    """Takes what waits, up to a batch, whenever the networks are free.

    An image waits for the batch that is running and is then in the next one, or in the one after
    where a larger request was before it. The bound counts the running batch, too: at one batch, who
    is let in under load waits for two parts of one.

    Args:
        score: Shows images to the networks.
        batch_size: Images at once.
        bound: Images that wait or are being scored, beyond which requests are refused. A request
            that meets an empty queue is taken in any case.
        told: Is told the size of every batch.
    """

    def __init__(
        self,
        score: Score,
        *,
        batch_size: int,
        bound: int,
        told: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._score, self._batch_size, self._bound, self._told = score, batch_size, bound, told
        self._waiting, self._running, self._closed = 0, 0, False
        self._queue: deque[tuple[_Job, int]] = deque()
        self._rate = 0.0
        """Images per second, of late."""
        self._returns: list[float] = []
        """A heap: when those who were refused come back."""
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="batches", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Images that have been let in and are not being scored yet."""
        return self._waiting

    @property
    def alive(self) -> bool:
        """Whether images are still being scored."""
        return self._thread.is_alive() and not self._closed

    def reserve(self, count: int) -> None:
        """Let ``count`` images in, which are then submitted or released.

        Raises:
            Refused: too many wait already; 503.
        """
        with self._changed:
            if self._closed:
                raise Refused(503, "The server is closing.")
            if self._waiting and self._waiting + self._running + count > self._bound:
                raise self.full()
            self._waiting += count

    def full(self) -> Refused:
        """Return the refusal of a request that meets a full queue: with its turn to come back.

        Whoever was refused and isn't due yet comes first, so returns are spread over the time that
        the networks need, and don't meet another refusal.
        """
        with self._changed:
            now = time.monotonic()
            while self._returns and self._returns[0] <= now:
                heapq.heappop(self._returns)
            ahead = self._waiting + len(self._returns)
            due = math.ceil(ahead / self._rate) if self._rate else 1
            seconds = min(max(due, 1), LONGEST_AWAY)
            heapq.heappush(self._returns, now + seconds)
            return Refused(
                503,
                f"{self._waiting} images wait already. Try again in {seconds} s.",
                retry_after=seconds,
            )

    @property
    def is_full(self) -> bool:
        """Whether not even one image more would be let in."""
        return self._waiting > 0 and self._waiting + self._running >= self._bound

    def release(self, count: int) -> None:
        """Take back the reservation of ``count`` images."""
        with self._changed:
            self._waiting -= count

    def submit(self, images: Sequence[Encoded]) -> Future[list[One]]:
        """Queue images that were reserved; what is said of each comes in their order."""
        job = _Job(images, Future(), [None] * len(images), len(images))
        job.future.set_running_or_notify_cancel()  # from here on nobody can cancel it
        if not images:
            job.future.set_result([])
            return job.future
        with self._changed:
            if self._closed:
                self._waiting -= len(images)
                raise Refused(503, "The server is closing.")
            self._queue.extend((job, place) for place in range(len(images)))
            self._changed.notify()
        return job.future

    def close(self) -> None:
        """Finish the batch that is running; what still waits is refused."""
        with self._changed:
            self._closed = True
            left = {id(job): job for job, _ in self._queue}
            self._queue.clear()
            self._waiting = 0
            self._changed.notify()
        self._thread.join()
        for job in left.values():
            if not job.future.done():
                job.future.set_exception(Refused(503, "The server is closing."))

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._queue and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                count = min(len(self._queue), self._batch_size)
                batch = [self._queue.popleft() for _ in range(count)]
                self._waiting -= count
                self._running = count
            # The images of a request that has failed already are of no use to anybody.
            batch = [(job, place) for job, place in batch if not job.future.done()]
            if batch:
                begun = time.monotonic()
                self._run(batch)
                rate = len(batch) / max(time.monotonic() - begun, 1e-6)
                self._rate = rate if not self._rate else 0.9 * self._rate + 0.1 * rate
            self._running = 0

    def _run(self, batch: list[tuple[_Job, int]]) -> None:
        self._told(len(batch))
        try:
            scored = self._score([job.images[place] for job, place in batch])
        except Exception as error:  # the thread goes on; the requests hear of it
            for job, _ in batch:
                if not job.future.done():
                    job.future.set_exception(error)
            return
        for row, (job, place) in enumerate(batch):
            job.results[place] = _one(scored, row)
            job.left -= 1
            if not job.left and not job.future.done():
                job.future.set_result([each for each in job.results if each is not None])


def _one(scored: Scored, row: int) -> One:
    if scored.errors[row]:
        return One(error=scored.errors[row], note=scored.notes[row])
    return One(
        tuple(float(chance) for chance in scored.probabilities[row]),
        int(scored.labels[row]),
        None if scored.spread is None else float(scored.spread[row]),
        note=scored.notes[row],
    )
