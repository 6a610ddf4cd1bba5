"""The self-test: an applier on a GPU compared with the same one on the CPU.

What runs on a GPU is compiled by the machine's own Triton, launched by its driver, fed by its
DALI. A handful of drawn images goes through the applier on the GPU and through the same one on the
CPU, in every form that users ask for: augmented and not, of the output's size, larger and smaller,
in float32 and half precision, as pixels and as the rows of BMPs. :mod:`.verdicts` remembers.

``python -m fastleuk.augment.gpu.selftest APPLIER DEVICE`` prints ``ready`` once it has the device,
then the verdict as a line of JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastleuk.augment.draw import draw
from fastleuk.augment.normalization import IMAGENET_MEAN, IMAGENET_STD
from fastleuk.augment.params import AugmentParams
from fastleuk.augment.policy import PAPER
from fastleuk.errors import MissingDependencyError

if TYPE_CHECKING:
    from fastleuk.augment.gpu.packing import Images

SIZE = 64
ORDER = ("compiled", "fused", "exact")
"""Of the appliers on a GPU, the fastest first: who fails is followed by the next."""
FORMS = {
    "compiled": ("float32", "float16", "bfloat16", "bmp"),
    "fused": ("float32", "float16"),
    "exact": ("float32", "float16"),
}
"""Of each applier: dtypes of the result, and images that go up as the rows of BMPs."""
PLAIN = (1, 9)
"""Test images that are not augmented: one of the output's size and one to be resized."""

Apply = Callable[[list[np.ndarray], AugmentParams, str, str], np.ndarray]
"""From images, parameters, the names of an applier and of a form to levels
``(N, SIZE, SIZE, 3)``."""


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
ROUNDED = {"float16": (0.1, 0.25), "bfloat16": (0.4, 1.5)}
"""Mean difference and levels that the rounding to a dtype adds; up to 255 their values are 1/8 and
1 apart."""


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


def self_test(applier: str, apply: Apply, truth: Apply | None = None) -> Verdict:
    """Run an applier on built-in images and compare.

    Args:
        applier: ``compiled``, ``fused`` or ``exact``.
        apply: Runs it on the GPU.
        truth: Runs it on the CPU; None for :func:`on_cpu`.
    """
    images = test_images()
    policy = PAPER.replace(p_sharpness=0.5, p_perspective=0.5)
    indices = np.arange(len(images))
    augmented = ~np.isin(indices, PLAIN)
    params = draw(policy, seed=17, epoch=0, indices=indices, size=SIZE, augmented=augmented)
    verdicts = []
    expected = tolerance = None
    for form in FORMS[applier]:
        try:
            levels = np.asarray(apply(images, params, applier, form), np.float32)
        except MissingDependencyError as error:
            return Verdict(applier, False, f"can't be had: {error}", missing=True)
        except Exception as error:  # whatever a compiler, a driver or a launch comes up with
            text = (str(error).strip().splitlines() or [""])[0]
            return Verdict(applier, False, f"does not run ({form}): {type(error).__name__}: {text}")
        if expected is None or tolerance is None:
            expected, tolerance = _truth(images, params, applier, truth or on_cpu)
        verdict = _compared(applier, form, levels, expected, tolerance)
        if not verdict.passed:
            return verdict
        verdicts.append(verdict)
    return verdicts[0]


def _compared(
    applier: str, form: str, levels: np.ndarray, expected: np.ndarray, tolerance: Tolerance
) -> Verdict:
    """Compare the levels of a form with those of the CPU."""
    if levels.shape != expected.shape or not np.isfinite(levels).all():
        nan = int((~np.isfinite(levels)).sum())
        return Verdict(applier, False, f"gives {levels.shape} with {nan} NaN ({form})")
    difference = np.abs(levels - expected)
    mean, largest = float(difference.mean()), float(difference.max())
    more = ROUNDED.get(form, (0.0, 0.0))
    allowed_mean, allowed = tolerance.mean + more[0], tolerance.levels + more[1]
    above = float((difference > allowed).mean())
    passed = mean <= allowed_mean and above <= tolerance.excused
    text = (
        f"mean difference {mean:.3f} levels, largest {largest:.2f}, {above:.2%} above "
        f"{allowed:g} (at most {allowed_mean:g} and {tolerance.excused:.2%} allowed; {form})"
    )
    return Verdict(applier, passed, text, mean, largest)


def _truth(
    images: list[np.ndarray], params: AugmentParams, applier: str, truth: Apply
) -> tuple[np.ndarray, Tolerance]:
    if applier != "compiled":
        return truth(images, params, applier, "float32"), SAME_GRAPH
    try:
        return truth(images, params, applier, "float32"), SAME_KERNEL
    except MissingDependencyError:
        return truth(images, params, "reference", "float32"), REFERENCE


def on_cpu(
    images: list[np.ndarray], params: AugmentParams, applier: str, form: str = "float32"
) -> np.ndarray:
    """Levels by an applier on the CPU; ``compiled`` needs no DALI for it."""
    if applier == "compiled":
        from fastleuk.augment.appliers.compiled.on_arrays import levels

        return levels([resized(image, params.size) for image in images], params)
    if applier == "reference":
        from fastleuk.augment.appliers import reference

        found = [reference.apply(image, params, i) for i, image in enumerate(images)]
        return np.stack(found).astype(np.float32)
    return _by_dali(images, params, applier, "cpu", form)


def resized(image: np.ndarray, size: int) -> np.ndarray:
    """Resize an image as the chain does before its steps: linear, with antialiasing, in float64.

    Args:
        image: ``(H, W, 3)`` uint8.
        size: Edge of the result.

    Returns:
        ``(size, size, 3)`` uint8.
    """
    down, across = (_resize_matrix(count, size) for count in image.shape[:2])
    levels = np.einsum("yh,hwc,xw->yxc", down, image.astype(np.float64), across, optimize=True)
    return np.ascontiguousarray(levels.round(9).round().clip(0, 255).astype(np.uint8))


def _resize_matrix(count: int, size: int) -> np.ndarray:
    """Weights ``(size, count)`` of a triangle as wide as the step; the edge is repeated."""
    step = count / size
    reach = max(step, 1.0)
    centers = (np.arange(size) + 0.5) * step - 0.5
    taps = np.floor(centers - reach)[:, None] + np.arange(2 * int(np.ceil(reach)) + 2)
    weights = np.maximum(1 - np.abs(taps - centers[:, None]) / reach, 0)
    matrix = np.zeros((size, count))
    row = np.broadcast_to(np.arange(size)[:, None], taps.shape)
    np.add.at(matrix, (row, taps.clip(0, count - 1).astype(int)), weights)
    return matrix / matrix.sum(axis=1, keepdims=True)


def _by_dali(
    images: list[np.ndarray], params: AugmentParams, applier: str, device: str, form: str
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
        dtype=form,
        normalize=False,
    )


def on_gpu(device: Any) -> Apply:
    """Return what runs an applier on ``device``."""

    def apply(
        images: list[np.ndarray], params: AugmentParams, applier: str, form: str
    ) -> np.ndarray:
        import torch

        if applier != "compiled":
            with torch.cuda.device(device):
                return _by_dali(images, params, applier, "gpu", form)
        with _fresh_memory_is_nan():
            return by_kernels(images, params, device, form)

    return apply


def by_kernels(
    images: list[np.ndarray], params: AugmentParams, device: Any, form: str
) -> np.ndarray:
    """Levels by the Triton kernels on ``device``; float16 is planar."""
    import torch

    from fastleuk.augment.gpu.kernels import DTYPES, Kernels

    dtype, layout = form if form in DTYPES else "float32", "CHW" if form == "float16" else "HWC"
    kernels = Kernels(params.size, normalize=False, layout=layout, dtype=dtype)
    if form == "bmp":
        result = kernels.run(kernels.pack(_bmp_rows(images), kernels.rows(params)), device)
    else:
        result = kernels([torch.from_numpy(image).to(device) for image in images], params)
    found = result.float().cpu().numpy()
    return found.transpose(0, 2, 3, 1) if layout == "CHW" else found


def _bmp_rows(images: list[np.ndarray]) -> Images:
    """The images as the pixels of BMPs: the last row first, padded to four bytes, blue first."""
    from fastleuk.augment.gpu.packing import Array, Images

    table, uploads = [], []
    for image in images:
        height, width = image.shape[:2]
        stride = (3 * width + 3) // 4 * 4
        rows = np.full((height, stride), 255, np.uint8)
        rows[:, : 3 * width] = image[::-1, :, ::-1].reshape(height, 3 * width)
        table.append(((height - 1) * stride, -stride, height, width, 1))
        uploads.append(Array(rows))
    return Images(np.array(table, np.int64), uploads)


@contextlib.contextmanager
def _fresh_memory_is_nan() -> Iterator[None]:
    """Have torch fill what it allocates, so that nothing passes by what was in memory before."""
    import torch

    before = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn_only)


def test_images() -> list[np.ndarray]:
    """A handful of drawn cells, uint8: dark and bright, small, large, not square."""
    images = []
    edges = (64, 64, 150, (110, 84), (28, 40), 64, 90, 64, 200, (200, 170))
    for number, edge in enumerate(edges):
        height, width = edge if isinstance(edge, tuple) else (edge, edge)
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
