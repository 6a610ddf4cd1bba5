"""The images on which the augmentation is tested, and how differences are measured."""

import importlib.util

import numpy as np
import pytest
from PIL import Image

from fastleuk.data.demo.plan import draw_demo_cell, plan_demo
from tests.makers.cells import PROJECT

needs_numba = pytest.mark.skipif(
    importlib.util.find_spec("numba") is None, reason="the applier compiled needs numba"
)
COMPILED = pytest.param("compiled", marks=needs_numba)
SHARED = PROJECT.parent / "shared"


def demo_cells(count: int) -> list[np.ndarray]:
    """``count`` synthetic cells of different subjects, (450, 450, 3) uint8."""
    plan = plan_demo(cells=240, seed=3)
    return [draw_demo_cell(cell, seed=3) for cell in plan[:: len(plan) // count][:count]]


def real_cells(folder: str, count: int) -> list[np.ndarray]:
    """``count`` images from ``../shared/data/<folder>``, or none where it is missing."""
    root = SHARED / "data" / folder
    files = sorted(p for p in root.rglob("*") if p.suffix.lower() in (".bmp", ".jpg", ".png"))
    if not files:
        return []
    files = files[:: max(1, len(files) // count)][:count]
    return [np.asarray(Image.open(path).convert("RGB")) for path in files]


def photographs() -> list[np.ndarray]:
    """Return scikit-learn's two, (427, 640, 3) uint8: bright, colorful, sharp."""
    from sklearn.datasets import load_sample_images

    return list(load_sample_images().images)


def hard_images() -> dict[str, np.ndarray]:
    """Images at the edges of what the chain can meet, by name."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:450, :450]
    gradient = np.stack([x, y, 449 - x], axis=-1) / 449 * 255
    return {
        "noise": rng.integers(0, 256, (450, 450, 3), dtype=np.uint8),
        "saturated noise": rng.choice(np.array([0, 255], np.uint8), (300, 300, 3)),
        "checkerboard": np.repeat(((x + y) % 2 * 255).astype(np.uint8)[..., None], 3, -1),
        "gradient": gradient.round().astype(np.uint8),
        "black": np.zeros((450, 450, 3), np.uint8),
        "white": np.full((450, 450, 3), 255, np.uint8),
        "grey": np.full((224, 224, 3), 128, np.uint8),
        "blue": np.full((224, 224, 3), (10, 10, 200), np.uint8),
        "non-square": gradient[:200].round().astype(np.uint8),
        "tiny": rng.integers(0, 256, (8, 8, 3), dtype=np.uint8),
    }


def psnr(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio in dB of each image of two batches of levels 0-255."""
    error = (np.asarray(a, np.float64) - b) ** 2
    return 10 * np.log10(255**2 / np.maximum(error.mean(axis=(1, 2, 3)), 1e-10))


def foreground_error(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Mean absolute difference in levels of each image where ``b`` is not black."""
    seen = b.max(axis=-1) > 8
    difference = np.abs(np.asarray(a, np.float64) - b).mean(axis=-1)
    return (difference * seen).sum(axis=(1, 2)) / np.maximum(seen.sum(axis=(1, 2)), 1)
