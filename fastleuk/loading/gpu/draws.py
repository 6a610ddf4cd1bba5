"""Parameters of batches for the GPU's kernels, drawn for many of them at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from fastleuk.augment import AugmentPolicy, draw, identity
from fastleuk.augment.gpu.kernels import Kernels
from fastleuk.loading.stream import BatchPlan

TOGETHER = 512
"""Samples, about: NumPy takes less than half of the time for one that it takes batch by batch."""


def with_rows(
    plans: Iterable[BatchPlan], kernels: Kernels, policy: AugmentPolicy | None, seed: int
) -> Iterator[tuple[BatchPlan, np.ndarray]]:
    """Yield every plan with its rows ``(N, L)`` float32.

    Args:
        plans: Of an epoch.
        kernels: Whose rows.
        policy: What augmented samples get; None: nothing is augmented.
        seed: Of the augmentation.
    """
    for piece in _pieces(plans):
        ends = np.cumsum([len(plan) for plan in piece]).tolist()
        if policy is None:
            params = identity(ends[-1], kernels.size)
        else:
            params = draw(
                policy,
                seed=seed,
                epoch=piece[0].draw_epoch,
                indices=np.concatenate([plan.draws for plan in piece]),
                size=kernels.size,
                augmented=np.concatenate([plan.augmented for plan in piece]),
            )
        rows = kernels.rows(params)
        for plan, first, end in zip(piece, [0, *ends[:-1]], ends, strict=True):
            yield plan, rows[first:end]


def _pieces(plans: Iterable[BatchPlan]) -> Iterator[list[BatchPlan]]:
    """Plans that one draw serves: some hundred samples, of one epoch of the draws."""
    piece: list[BatchPlan] = []
    count = 0
    for plan in plans:
        if piece and (count >= TOGETHER or plan.draw_epoch != piece[0].draw_epoch):
            yield piece
            piece, count = [], 0
        piece.append(plan)
        count += len(plan)
    if piece:
        yield piece
