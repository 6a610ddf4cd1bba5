"""Which samples come when: pure functions of (seed, epoch, step), with no state to resume."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from fastleuk.augment import AugmentParams, AugmentPolicy, draw
from fastleuk.data.balance import EpochPlan, plan_epoch
from fastleuk.errors import ConfigError


@dataclass(frozen=True, eq=False, slots=True)
class BatchPlan:
    """The samples of one batch.

    Attributes:
        indices: int64 ``(B,)``, rows of the manifest.
        draws: int64 ``(B,)``, the draw that augments each sample.
        augmented: bool ``(B,)``; False for an original, which passes unchanged.
        draw_epoch: The epoch that keys the draws.
    """

    indices: np.ndarray
    draws: np.ndarray
    augmented: np.ndarray
    draw_epoch: int

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.indices)


def draw_plan(policy: AugmentPolicy, plan: BatchPlan, *, seed: int, size: int) -> AugmentParams:
    """Draw the augmentation of a batch; every loader gets the same for the same plan.

    Args:
        policy: What augmented samples get.
        plan: The batch.
        seed: Of the augmentation.
        size: Edge of the output in pixels.
    """
    return draw(
        policy,
        seed=seed,
        epoch=plan.draw_epoch,
        indices=plan.draws,
        size=size,
        augmented=plan.augmented,
    )


class Stream(Protocol):
    """An order of samples, cut into batches."""

    batch_size: int

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""

    def batches(self, epoch: int, start: int = 0) -> Iterator[BatchPlan]:
        """Yield the plans of ``epoch`` from batch ``start`` on."""


class TrainStream:
    """Shuffled, balanced epochs; the last batch is dropped where it would be partial.

    Step by step, the batches of all ranks together are the batch that one process with
    ``world_size * batch_size`` would have: every rank has equally many, and none shares a
    sample with another.

    Args:
        labels: int64 ``(K,)``, the class of each training sample.
        samples: int64 ``(K,)``, their rows in the manifest.
        per_class: Samples a class and epoch, see :func:`fastleuk.data.balance.plan_epoch`.
        originals: Share of un-augmented images where ``per_class`` is ``off``.
        frozen: Draw the first epoch's augmentations in every epoch.
        seed: Seeds order and choice of copies.
        batch_size: Samples a batch and rank.
        rank: Which of the processes this is, from 0.
        world_size: How many processes share the epoch.

    Raises:
        ConfigError: an epoch has fewer samples than one batch of every rank.
    """

    def __init__(
        self,
        labels: np.ndarray,
        samples: np.ndarray,
        *,
        per_class: str,
        frozen: bool,
        seed: int,
        batch_size: int,
        originals: float = 0.0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        _check_rank(rank, world_size)
        self.labels, self.samples, self.originals = labels, samples, originals
        self.per_class, self.frozen, self.seed = per_class, frozen, seed
        self.batch_size, self.rank, self.world_size = batch_size, rank, world_size
        self.samples_per_epoch = len(self._plan(0).indices)
        if self.samples_per_epoch < batch_size * world_size:
            ranks = f" on {world_size} processes" if world_size > 1 else ""
            most = self.samples_per_epoch // world_size
            raise ConfigError(
                f"--batch-size {batch_size}{ranks} is larger than an epoch, which has "
                f"{self.samples_per_epoch} training samples. Use at most --batch-size {most}."
            )

    @property
    def whole(self) -> TrainStream:
        """The same epochs as one process sees them: the batches of all ranks, joined."""
        whole = copy.copy(self)
        whole.batch_size, whole.rank, whole.world_size = self.batch_size * self.world_size, 0, 1
        return whole

    def _plan(self, epoch: int) -> EpochPlan:
        return plan_epoch(
            self.labels,
            self.samples,
            per_class=self.per_class,
            originals=self.originals,
            seed=self.seed,
            epoch=epoch,
            frozen=self.frozen,
        )

    def __len__(self) -> int:
        """Return the number of whole batches in an epoch."""
        return self.samples_per_epoch // (self.batch_size * self.world_size)

    def batches(self, epoch: int, start: int = 0) -> Iterator[BatchPlan]:
        """Yield the plans of ``epoch`` from batch ``start`` on."""
        plan = self._plan(epoch)
        for step in range(start, len(self)):
            first = (step * self.world_size + self.rank) * self.batch_size
            cut = slice(first, first + self.batch_size)
            yield BatchPlan(
                self.samples[plan.indices[cut]],
                plan.draws[cut],
                plan.augmented[cut],
                plan.draw_epoch,
            )


class EvalStream:
    """Every sample exactly once, in order, un-augmented; the last batch may be partial.

    Of several ranks each has every ``world_size``-th sample, so their numbers differ by one at
    most and no sample is padded, repeated or left out.

    Args:
        samples: int64 ``(K,)``, rows of the manifest.
        batch_size: Samples a batch and rank.
        rank: Which of the processes this is, from 0.
        world_size: How many processes share the samples.
    """

    def __init__(
        self, samples: np.ndarray, *, batch_size: int, rank: int = 0, world_size: int = 1
    ) -> None:
        _check_rank(rank, world_size)
        self.samples = np.ascontiguousarray(samples[rank::world_size], dtype=np.int64)
        self.batch_size = batch_size

    def __len__(self) -> int:
        """Return the number of batches."""
        return -(-len(self.samples) // self.batch_size)

    def batches(self, epoch: int = 0, start: int = 0) -> Iterator[BatchPlan]:
        """Yield the plans from batch ``start`` on; every epoch is the same."""
        del epoch
        for step in range(start, len(self)):
            rows = self.samples[step * self.batch_size : (step + 1) * self.batch_size]
            yield BatchPlan(rows, rows, np.zeros(len(rows), dtype=bool), 0)


def _check_rank(rank: int, world_size: int) -> None:
    if not 0 <= rank < world_size:
        raise ConfigError(f"rank {rank} of {world_size} processes: it must be 0 or more and below.")
