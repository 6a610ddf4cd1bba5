"""Fixtures for every test."""

import os
from pathlib import Path

import numpy as np
import pytest

PROJECT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The development folder beside the project; tests that need it skip without it."""
    path = PROJECT.parent / "shared"
    if not path.is_dir():
        pytest.skip(f"no {path}: real cells and names are not here")
    return path


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    """Keep the user's cache out of the tests, and the tests out of the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    before = os.environ.get("FASTLEUK_CACHE_DIR")
    os.environ["FASTLEUK_CACHE_DIR"] = str(folder)
    yield folder
    if before is None:
        del os.environ["FASTLEUK_CACHE_DIR"]
    else:
        os.environ["FASTLEUK_CACHE_DIR"] = before


def pytest_collection_modifyitems(items):
    """Skip what needs a GPU where there is none, unless a GPU is required."""
    gpu_items = [item for item in items if item.get_closest_marker("gpu")]
    if not gpu_items or os.environ.get("FASTLEUK_REQUIRE_GPU") == "1":
        return
    import torch

    if not torch.cuda.is_available():
        for item in gpu_items:
            item.add_marker(pytest.mark.skip(reason="no NVIDIA GPU"))


def write_cells(root: Path, *, subjects: int = 8, per_subject: int = 4, side: int = 72) -> Path:
    """Write dark BMPs with one disc each as ``<class>/<subject>_<n>.bmp``: large red against
    small blue discs, noisy, so that a tiny network can learn them and no two files are equal."""
    from PIL import Image

    rng = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side]
    for name, radius, colour in (("large", 0.36, (150, 40, 70)), ("small", 0.2, (50, 50, 150))):
        folder = root / name
        folder.mkdir(parents=True)
        for subject in range(subjects):
            for number in range(per_subject):
                middle = side / 2 + rng.uniform(-5, 5, 2)
                r = side * radius * rng.uniform(0.85, 1.15)
                disc = (x - middle[0]) ** 2 + (y - middle[1]) ** 2 < r**2
                pixels = np.zeros((side, side, 3))
                pixels[disc] = np.array(colour) + rng.normal(0, 14, (disc.sum(), 3))
                image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
                image.save(folder / f"{name[0]}{subject}_{number}.bmp")
    return root


@pytest.fixture(scope="session")
def cells(tmp_path_factory) -> Path:
    """64 small images of two classes and 16 subjects."""
    return write_cells(tmp_path_factory.mktemp("cells") / "set")


SUBJECT_REGEX = r"([ls]\d+)_\d+\.bmp$"
