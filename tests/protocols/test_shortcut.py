"""What sees colours alone finds the subjects, and nothing else."""

import numpy as np
import pytest
from PIL import Image

from fastleuk.data.dataset import load_dataset
from fastleuk.data.split.make import make_split
from fastleuk.loading import has_dali
from fastleuk.protocols.shortcut import colour_statistics, shortcut_figures

BACKENDS = [
    pytest.param(
        "dali", marks=pytest.mark.skipif(not has_dali(), reason="NVIDIA DALI is not installed")
    ),
    "torchvision",
]


@pytest.fixture(scope="module")
def stained(tmp_path_factory):
    """24 subjects of 6 images, each subject with a stain of its own that tells nothing else."""
    root = tmp_path_factory.mktemp("stained")
    rng = np.random.default_rng(4)
    for name in ("a", "b"):
        (root / name).mkdir()
        for subject in range(12):
            stain = rng.uniform(60, 190, 3)
            for number in range(6):
                pixels = np.zeros((64, 64, 3))
                pixels[16:48, 16:48] = stain + rng.normal(0, 1, 3) + rng.normal(0, 5, (32, 32, 3))
                file = root / name / f"{name}{subject:02}_{number}.bmp"
                Image.fromarray(pixels.clip(1, 255).astype(np.uint8) * (pixels > 0)).save(file)
    return load_dataset(root, subject_regex=r"([ab]\d+)_")


def _scores(dataset, statistics, mode, seeds=4):
    return [
        shortcut_figures(
            dataset,
            make_split(dataset.manifest, dataset.groups, mode=mode, test_fraction=0.25, seed=seed),
            statistics,
            seed=seed,
        )["f1_macro"]
        for seed in range(seeds)
    ]


def test_a_split_by_image_rewards_knowing_the_stain(stained):
    statistics = colour_statistics(stained, backend="torchvision", workers=1)
    by_image, by_subject = (_scores(stained, statistics, mode) for mode in ("image", "subject"))
    assert np.mean(by_image) > 0.85
    assert np.mean(by_subject) < 0.65
    assert _scores(stained, statistics, "image", seeds=1) == by_image[:1]


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_statistics_are_of_what_is_not_black(backend, stained):
    statistics = colour_statistics(stained, backend=backend, workers=2)
    assert statistics.shape == (144, 7)
    for row in (0, 77, 143):
        pixels = np.asarray(Image.open(stained.manifest.file(row))).reshape(-1, 3)
        shown = pixels[pixels.any(axis=1)].astype(float)
        expected = [*shown.mean(axis=0), *shown.std(axis=0), 0.25]
        np.testing.assert_allclose(statistics[row], expected, atol=1e-9)
