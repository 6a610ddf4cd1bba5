"""The appliers on a GPU beside the CPU's, and how fast they are: ``fastleuk gpu-check``."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastleuk.augment.batch import augment_batch
from fastleuk.augment.draw import draw
from fastleuk.augment.gpu import verdicts
from fastleuk.augment.gpu.packing import packed_rows
from fastleuk.augment.gpu.selftest import Verdict, test_images
from fastleuk.augment.gpu.verdicts import ORDER
from fastleuk.augment.policy import PAPER

RATE_SIZE, RATE_BATCH, RATE_ROUNDS = 224, 128, 12


@dataclass(frozen=True, slots=True)
class Checked:
    """An applier's self-test, and its rate if it passed."""

    verdict: Verdict
    images_per_s: float | None


def check(
    device: Any,
    *,
    appliers: Sequence[str] = ORDER,
    test: Callable[[str], Verdict] | None = None,
    rate: Callable[[str], float] | None = None,
) -> list[Checked]:
    """Test every applier again, whatever is remembered, record it, and measure those that pass.

    Args:
        device: A GPU.
        appliers: Which.
        test: From an applier to its verdict; None for the self-test on ``device``.
        rate: From an applier to images a second; None to measure on ``device``.
    """
    test = test or (lambda applier: verdicts.isolated(applier, device))
    rate = rate or (lambda applier: measure(applier, device))
    found = []
    for applier in appliers:
        verdict = test(applier)
        verdicts.record(verdict, device)
        found.append(Checked(verdict, rate(applier) if verdict.passed else None))
    return found


def measure(applier: str, device: Any) -> float:
    """Images a second of an applier from uint8 in GPU memory, by CUDA's events.

    ``compiled`` takes a batch where it lies, with parameters that were packed before: a loader
    packs them in a thread of its own, see :func:`host_rate`. ``fused`` and ``exact`` are given
    arrays, whose way up and back is in their time.
    """
    import torch

    from fastleuk.augment.gpu.kernels import Kernels

    images = [np.resize(image, (RATE_SIZE, RATE_SIZE, 3)) for image in test_images()]
    images = [images[i % len(images)] for i in range(RATE_BATCH)]
    params = [
        draw(PAPER, seed=1, epoch=e, indices=np.arange(RATE_BATCH), size=RATE_SIZE)
        for e in range(RATE_ROUNDS)
    ]
    with torch.cuda.device(device):
        if applier == "compiled":
            kernels = Kernels(RATE_SIZE, dtype="float16", layout="HWC")
            there = list(torch.from_numpy(np.stack(images)).to(device))
            batches = [kernels.packed(there, p) for p in params]
            runs = [lambda b=b: kernels.run(b, there[0].device) for b in batches]
        else:
            options: dict[str, Any] = {"applier": applier, "device": "gpu", "dtype": "float16"}
            runs = [lambda p=p: augment_batch(images, p, **options) for p in params]
        for run in runs[:2]:
            run()
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for run in runs[2:]:
            run()
        end.record()
        end.synchronize()
    return RATE_BATCH * len(runs[2:]) / (begin.elapsed_time(end) / 1e3)


def host_rate(*, images: int = 512, rounds: int = 20) -> float:
    """Images a second whose parameters one thread of the host draws and packs: the best round."""
    best = float("inf")
    for epoch in range(rounds):
        started = time.perf_counter()
        packed_rows(draw(PAPER, seed=1, epoch=epoch, indices=np.arange(images), size=RATE_SIZE))
        best = min(best, time.perf_counter() - started)
    return images / best


def table(found: Sequence[Checked], device: Any, host: float | None = None) -> str:
    """What was found, for a terminal; ``host`` is of :func:`host_rate`."""
    lines = [f"{name:20} {value}" for name, value in verdicts.versions(device).items()]
    lines.append("")
    for row in found:
        verdict = row.verdict
        rate = f"{row.images_per_s:,.0f} images/s" if row.images_per_s else "not measured"
        state = "ok" if verdict.passed else "none" if verdict.missing else "FAILS"
        lines.append(f"{verdict.applier:10} {state:6} {rate:>18}   {verdict.found}")
    if host is not None:
        lines.append(
            f"{'parameters':10} {'':6} {host:>9,.0f} images/s   drawn by a thread of the host"
        )
    return "\n".join(lines)
