"""A DALI pipeline while an epoch runs, and until the GPU has read the last of its batches."""

from __future__ import annotations

import os
from collections import deque
from typing import Any

from nvidia.dali import Pipeline

from fastleuk.augment.hold import Hold
from fastleuk.loading.dali.feed import Feed


class Running:
    """An epoch's pipeline, what feeds it, and what a GPU still reads of it."""

    def __init__(self, pipeline: Pipeline, feed: Feed, hold: Hold | None) -> None:
        self.pipeline: Pipeline | None = pipeline
        self.feed, self.hold, self.pid = feed, hold, os.getpid()
        self.drawn: deque[Any] = deque()
        """Parameters of the batches in flight, where the kernels read them after the pipeline."""
        self._lent: object = None

    def lend(self, tensors: object) -> None:
        """The consumer uses a batch from now on."""
        if self.hold is not None:
            self._lent = tensors

    def take_back(self) -> None:
        """The consumer has queued all its work on the batch."""
        if self.hold is not None and self._lent is not None:
            self.hold.add(self._lent)
            self._lent = None

    def rewind(self) -> bool:
        """Make ready for another epoch, if there is a pipeline still."""
        if self.hold is not None:
            self.hold.close()
        if self.pipeline is not None:
            self.pipeline.reset()
        return self.pipeline is not None

    def close(self) -> None:
        """Free the pipeline when the GPU has done with its batches."""
        if self.pid == os.getpid():
            self.take_back()
            if self.hold is not None:
                self.hold.close()
        self.pipeline = None
