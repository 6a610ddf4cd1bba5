"""Whether an applier computes on a GPU what it computes on the CPU: asked once, then remembered.

What runs on a GPU is compiled by the machine's own Triton, launched by its driver, fed by its
DALI. At the first use with given versions a handful of drawn images goes through the applier on
the GPU and through the same one on the CPU; the verdict is kept in the user's cache folder.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from fastleuk.augment.batch import augment_batch
from fastleuk.augment.draw import draw
from fastleuk.augment.params import AugmentParams
from fastleuk.augment.policy import PAPER
from fastleuk.data.user_cache.folder import cache_root
from fastleuk.errors import FastleukError, MissingDependencyError

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
        found = np.asarray(apply(images, params, applier), np.float32)
    except MissingDependencyError as error:
        return Verdict(applier, False, f"can't be had: {error}", missing=True)
    except Exception as error:  # whatever a compiler, a driver or a launch comes up with
        text = (str(error).strip().splitlines() or [""])[0]
        return Verdict(applier, False, f"does not run: {type(error).__name__}: {text}")
    expected, tolerance = _truth(images, params, applier, truth or on_cpu)
    if found.shape != expected.shape or not np.isfinite(found).all():
        return Verdict(
            applier, False, f"gives {found.shape} with {int((~np.isfinite(found)).sum())} NaN"
        )
    difference = np.abs(found - expected)
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
    """Levels by an applier on the CPU."""
    return augment_batch(images, params, applier=applier, normalize=False)


def on_gpu(device: Any) -> Apply:
    """Return what runs an applier on ``device``."""

    def apply(images: list[np.ndarray], params: AugmentParams, applier: str) -> np.ndarray:
        import torch

        if applier != "compiled":
            return augment_batch(images, params, applier=applier, device="gpu", normalize=False)
        from fastleuk.augment.gpu.images import Kernels

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


def versions(device: Any) -> dict[str, str]:
    """What a verdict holds for: another of these asks for a new test."""
    import torch

    found = {"fastleuk": _source_digest(), "gpu": str(device)}
    if getattr(device, "type", "") == "cuda":
        properties = torch.cuda.get_device_properties(device)
        found["gpu"] = f"{properties.name} sm_{properties.major}{properties.minor}"
        found["cuda"] = str(torch.version.cuda)
        found["driver"] = _driver()
    for name in ("torch", "triton", "nvidia-dali-cuda120", "nvidia-dali-cuda130", "numba"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _driver() -> str:
    try:
        text = Path("/proc/driver/nvidia/version").read_text()
    except OSError:
        return ""
    return text.splitlines()[0] if text else ""


def _source_digest() -> str:
    """The appliers' sources: an update of them is tested anew."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parents[1].rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def remembered(applier: str, device: Any, test: Callable[[str], Verdict]) -> Verdict:
    """The verdict on ``applier`` with these versions: from the cache folder, or by a test now.

    A folder that can't be written only means that the next process tests again.
    """
    now = versions(device)
    key = hashlib.sha256(json.dumps([applier, now], sort_keys=True).encode()).hexdigest()[:24]
    file = cache_root() / "self-tests" / f"{key}.json"
    try:
        kept = json.loads(file.read_text())
        return Verdict(**kept["verdict"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # never asked, or a file of something else
    verdict = test(applier)
    from fastleuk.files import write_json

    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, {"verdict": asdict(verdict), "versions": now})
    except OSError:
        pass
    return verdict


def first_sound(
    device: Any,
    *,
    order: Sequence[str] = ORDER,
    report: Callable[[str], None] = print,
    test: Callable[[str], Verdict] | None = None,
) -> str:
    """Return the first applier of ``order`` whose self-test passes on ``device``.

    Args:
        device: A GPU.
        order: Appliers, the fastest first.
        report: Is told, in a line each, of those that were passed over.
        test: From an applier to its verdict; None for the self-test on ``device``.

    Raises:
        FastleukError: none passes.
    """
    apply = on_gpu(device)
    test = test or (lambda applier: self_test(applier, apply))
    failed = []
    for applier in order:
        verdict = remembered(applier, device, test)
        if verdict.passed:
            return applier
        failed.append(f"{applier} {verdict.found}")
        report(
            f"The applier {applier} is not used on {device}: it {verdict.found}. Please report "
            "this with the output of `fastleuk gpu-check`."
        )
    raise FastleukError(
        f"No applier works on {device}: {'; '.join(failed)}. Train with --device cpu, or see "
        "`fastleuk gpu-check`."
    )
