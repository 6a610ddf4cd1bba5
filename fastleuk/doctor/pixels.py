"""Whether the appliers compute what they should here; asked by a probe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fastleuk.augment.draw import draw
from fastleuk.augment.gpu.selftest import (
    REFERENCE,
    SIZE,
    on_cpu,
    on_gpu,
    self_test,
    test_images,
)
from fastleuk.augment.policy import PAPER
from fastleuk.errors import MissingDependencyError


def self_tests(device: str, appliers: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield ``applier``, ``passed``, ``missing`` and ``found`` for each applier.

    On a GPU it is compared with itself on the CPU, on the CPU with torchvision (``reference``).
    """
    if device != "cpu":
        import torch

        apply = on_gpu(torch.device(device))
        for applier in appliers:
            verdict = self_test(applier, apply, on_cpu)
            yield {
                "applier": applier,
                "passed": verdict.passed,
                "missing": verdict.missing,
                "found": verdict.found,
            }
        return
    images = test_images()
    policy = PAPER.replace(p_sharpness=0.5, p_perspective=0.5)
    params = draw(policy, seed=17, epoch=0, indices=np.arange(len(images)), size=SIZE)
    truth = on_cpu(images, params, "reference")
    for applier in appliers:
        row: dict[str, Any] = {"applier": applier, "passed": False, "missing": False}
        try:
            found = np.asarray(on_cpu(images, params, applier), np.float32)
        except MissingDependencyError as error:
            yield {**row, "missing": True, "found": f"can't be had: {error}"}
            continue
        except Exception as error:  # whatever a compiler comes up with
            text = (str(error).strip().splitlines() or [""])[0]
            yield {**row, "found": f"does not run: {type(error).__name__}: {text}"}
            continue
        yield {**row, **compared(found, truth)}


def compared(found: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    """Compare levels ``(N, H, W, 3)`` float32 with torchvision's."""
    if found.shape != truth.shape or not np.isfinite(found).all():
        return {"passed": False, "found": f"gives {found.shape}, or values that are no numbers"}
    difference = np.abs(found - truth)
    mean, above = float(difference.mean()), float((difference > REFERENCE.levels).mean())
    return {
        "passed": mean <= REFERENCE.mean and above <= REFERENCE.excused,
        "found": f"mean difference from torchvision {mean:.2f} levels (at most {REFERENCE.mean:g} "
        "allowed)",
    }
