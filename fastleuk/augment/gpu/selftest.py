"""Whether an applier computes on a GPU what it computes on the CPU.

What runs on a GPU is compiled by the machine's own Triton, launched by its driver, fed by its
DALI. A handful of drawn images goes through the applier on the GPU and through the same one on the
CPU. :mod:`.verdicts` asks when, and remembers.

``python -m fastleuk.augment.gpu.selftest APPLIER DEVICE`` prints ``ready`` once it has the device,
then the verdict as a line of JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fastleuk.augment.draw import draw
from fastleuk.augment.normalization import IMAGENET_MEAN, IMAGENET_STD
from fastleuk.augment.params import AugmentParams
from fastleuk.augment.policy import PAPER
from fastleuk.errors import MissingDependencyError

SIZE = 64
ORDER = ("compiled", "fused", "exact")
"""Of the appliers on a GPU, the fastest first: who fails is followed by the next."""

Apply = Callable[[list[np.ndarray], AugmentParams, str], np.ndarray]
"""From images, parameters and an applier's name to levels ``(N, SIZE, SIZE, 3)`` float32."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far two results may be apart, in levels of 0-255."""

    mean: float
    excused: float
    """Share of values that may differ by more than ``levels``."""
    levels: float
    reason: str


SAME_KERNEL = Tolerance(
    0.02, 0.001, 0.5, "the same float32 arithmetic; multiply-adds are fused, exponents rounded"
)
SAME_GRAPH = Tolerance(
    0.5, 0.01, 2.0, "uint8 between operators: halves round up on the CPU, to even on the GPU"
)
REFERENCE = Tolerance(
    3.0, 0.25, 8.0, "torchvision resamples five times and rounds to whole levels after each step"
)
"""For ``compiled`` where numba isn't installed. Wrong pixels are tens of levels off."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a self-test has found."""

    applier: str
    passed: bool
    found: str
    """In words: how far apart, or which error."""
    mean: float | None = None
    """Mean difference in levels; None if nothing came out."""
    largest: float | None = None
    missing: bool = False
    """Whether it isn't installed, rather than wrong."""
    lasting: bool = True
    """Whether it holds as long as the versions do: not if memory was lacking."""


def self_test(applier: str, apply: Apply, truth: Apply | None = None) -> Verdict:
    """Run an applier on built-in images and compare.

    Args:
        applier: ``compiled``, ``fused`` or ``exact``.
        apply: Runs it on the GPU.
        truth: Runs it on the CPU; None for :func:`on_cpu`.
    """
    images = test_images()
    policy = PAPER.replace(p_sharpness=0.5, p_perspective=0.5)
    params = draw(policy, seed=17, epoch=0, indices=np.arange(len(images)), size=SIZE)
    try:
        levels = np.asarray(apply(images, params, applier), np.float32)
    except MissingDependencyError as error:
        return Verdict(applier, False, f"can't be had: {error}", missing=True)
    except Exception as error:  # whatever a compiler, a driver or a launch comes up with
        text = (str(error).strip().splitlines() or [""])[0]
        lasting = "memory" not in text or "illegal" in text
        found = f"does not run: {type(error).__name__}: {text}"
        return Verdict(applier, False, found, lasting=lasting)
    expected, tolerance = _truth(images, params, applier, truth or on_cpu)
    if levels.shape != expected.shape or not np.isfinite(levels).all():
        return Verdict(
            applier, False, f"gives {levels.shape} with {int((~np.isfinite(levels)).sum())} NaN"
        )
    difference = np.abs(levels - expected)
    mean, largest = float(difference.mean()), float(difference.max())
    above = float((difference > tolerance.levels).mean())
    passed = mean <= tolerance.mean and above <= tolerance.excused
    text = (
        f"mean difference {mean:.3f} levels, largest {largest:.2f}, {above:.2%} above "
        f"{tolerance.levels:g} (at most {tolerance.mean:g} and {tolerance.excused:.2%} allowed)"
    )
    return Verdict(applier, passed, text, mean, largest)


def _truth(
    images: list[np.ndarray], params: AugmentParams, applier: str, truth: Apply
) -> tuple[np.ndarray, Tolerance]:
    if applier != "compiled":
        return truth(images, params, applier), SAME_GRAPH
    try:
        return truth(images, params, applier), SAME_KERNEL
    except MissingDependencyError:
        return truth(images, params, "reference"), REFERENCE


def on_cpu(images: list[np.ndarray], params: AugmentParams, applier: str) -> np.ndarray:
    """Levels by an applier on the CPU; ``compiled`` needs no DALI for it."""
    if applier == "compiled":
        from fastleuk.augment.appliers.compiled.on_arrays import levels

        return levels(images, params)
    if applier == "reference":
        from fastleuk.augment.appliers import reference

        found = [reference.apply(image, params, i) for i, image in enumerate(images)]
        return np.stack(found).astype(np.float32)
    return _by_dali(images, params, applier, "cpu")


def _by_dali(
    images: list[np.ndarray], params: AugmentParams, applier: str, device: str
) -> np.ndarray:
    from fastleuk.augment.dali.arrays import augment_arrays

    return augment_arrays(
        images,
        params,
        device,
        False,
        size=params.size,
        applier=applier,
        interpolation=params.interpolation,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        layout="HWC",
        dtype="float32",
        normalize=False,
    )


def on_gpu(device: Any) -> Apply:
    """Return what runs an applier on ``device``."""

    def apply(images: list[np.ndarray], params: AugmentParams, applier: str) -> np.ndarray:
        import torch

        if applier != "compiled":
            with torch.cuda.device(device):
                return _by_dali(images, params, applier, "gpu")
        from fastleuk.augment.gpu.kernels import Kernels

        kernels = Kernels(params.size, normalize=False, layout="HWC")
        there = [torch.from_numpy(image).to(device) for image in images]
        return kernels(there, params).cpu().numpy()

    return apply


def test_images() -> list[np.ndarray]:
    """A handful of drawn cells, uint8: dark and bright, small, large, not square."""
    images = []
    shapes = ((64, 64), (64, 64), (150, 150), (110, 84), (28, 40), (64, 64), (90, 90), (64, 64))
    for number, (height, width) in enumerate(shapes):
        y, x = np.mgrid[:height, :width]
        y, x = (y + 0.5) / height - 0.5, (x + 0.5) / width - 0.5
        ground = np.array([20, 12, 30]) if number % 2 else np.array([225, 205, 215])
        cell = np.exp(-((x - 0.05) ** 2 + (y + 0.08) ** 2) * 18)[..., None]
        waves = 18 * np.sin(9 * x + 5 * y + number)[..., None] * np.array([1, -1, 0.5])
        image = ground * (1 - cell) + np.array([130, 50 + 9 * number, 160]) * cell + waves
        images.append(np.ascontiguousarray(image.clip(0, 255).round().astype(np.uint8)))
    return images


def main(applier: str, name: str) -> None:
    """Test an applier on the device ``name``, in a process of its own."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not mix with the answers
    import torch

    device = torch.device(name)
    torch.zeros(1, device=device)
    print("ready", file=answers, flush=True)
    verdict = self_test(applier, on_gpu(device))
    print(json.dumps(asdict(verdict)), file=answers, flush=True)
    with contextlib.suppress(BrokenPipeError):
        answers.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
