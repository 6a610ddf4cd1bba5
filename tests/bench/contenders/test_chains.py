"""The contenders augment: every step of every library is there and does what it is called."""

import warnings
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from fastleuk.bench.contenders import chains as contenders
from fastleuk.bench.contenders.feeds import open_feed
from fastleuk.bench.contenders.stream import MEAN, STD
from fastleuk.bench.spec import METHODS, PACKAGES, available
from fastleuk.data.manifest import Manifest

SIDE, DRAWS = 64, 24
LIBRARIES = ("torchvision-pil", "torchvision-v2", "albumentations", "kornia", "kornia functions")


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Many threads on little images wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def probe():
    """A bright square off the middle, over a stripe and a ramp: no two quarters are alike."""
    image = np.full((SIDE, SIDE, 3), 60, np.uint8)
    image[8:24, 12:36] = (150, 90, 110)
    image[40:44] = (120, 120, 40)
    image[:, 50:, 2] += np.arange(14, dtype=np.uint8) * 4
    return image


def draws(library, number):
    """``DRAWS`` results of one step, levels 0 to 255, ``(DRAWS, SIDE, SIDE, 3)`` float."""
    for package in PACKAGES.get(library.partition(" ")[0], ()):
        pytest.importorskip(package)
    image = probe()
    tensor = torch.from_numpy(image).permute(2, 0, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the libraries' own deprecations
        if library == "torchvision-pil":
            step = contenders.torchvision_steps(contenders.v1, SIDE)[number]
            return np.stack([np.asarray(step(Image.fromarray(image))) for _ in range(DRAWS)]) * 1.0
        if library == "albumentations":
            step = contenders.albumentations_steps(SIDE)[number]
            return np.stack([step(image=image)["image"] for _ in range(DRAWS)]) * 1.0
        if library == "torchvision-v2":
            step = contenders.torchvision_steps(contenders.v2, SIDE)[number]
            found = torch.stack([step(tensor) for _ in range(DRAWS)]).float()
        else:
            batch = (tensor.float() / 255).expand(DRAWS, -1, -1, -1).contiguous()
            if library == "kornia":
                found = 255 * contenders.kornia_steps(SIDE)[number](batch)
            else:
                from fastleuk.bench.contenders import kornia_functions

                found = 255 * kornia_functions.STEPS[number](batch)
        return found.permute(0, 2, 3, 1).numpy()


def edges(images):
    return (np.diff(images, axis=2) ** 2).mean(axis=(1, 2, 3))


def bright_middle(images):
    """Centre of what is brighter than the ground, x and y, per image."""
    weight = (images.mean(axis=3) > 95) + 1e-9
    y, x = np.mgrid[:SIDE, :SIDE]
    total = weight.sum(axis=(1, 2))
    return np.stack([(weight * grid).sum(axis=(1, 2)) / total for grid in (x, y)], axis=1)


def mirrored(axis):
    def check(images):
        image = probe().astype(float)
        same = np.abs(images - image).max(axis=(1, 2, 3)) < 1
        turned = np.abs(images - np.flip(image, axis)).max(axis=(1, 2, 3)) < 1
        assert (same | turned).all()
        assert 3 < turned.sum() < 21

    return check


def turns(images):
    assert np.median(images[:, 0, 0].max(axis=1)) < 20  # black comes into the corners
    assert (np.median(images[:, 32, 32], axis=0) > 30).all()


def colours(images):
    assert images.mean(axis=(1, 2, 3)).std() > 3
    ratio = images[..., 0].mean(axis=(1, 2)) / images[..., 1].mean(axis=(1, 2))
    assert ratio.std() > 0.01


def crops(images):
    assert images.min() > 20  # nothing black
    assert bright_middle(images).std(axis=0).min() > 1
    bright = (images.mean(axis=3) > 95).mean(axis=(1, 2))
    assert np.median(bright) > 1.05 * (probe().mean(axis=2) > 95).mean()


def moves(images):
    assert (images.min(axis=(1, 2, 3)) < 20).mean() > 0.8  # black at an edge
    assert bright_middle(images).std(axis=0).min() > 0.5


def blurs(images):
    assert np.median(edges(images)) < 0.95 * edges(probe()[None].astype(float))[0]
    assert edges(images).std() > 0.01


def sharpens(images):
    image = probe().astype(float)
    changed = np.abs(images - image).max(axis=(1, 2, 3)) > 3
    assert 1 <= changed.sum() < 18
    assert (edges(images)[changed] > 1.01 * edges(image[None])[0]).all()


def skews(images):
    changed = np.abs(images - probe().astype(float)).max(axis=(1, 2, 3)) > 20
    assert 1 <= changed.sum() < 18
    assert len(np.unique(np.round(bright_middle(images)[changed], 2), axis=0)) == changed.sum()


OBSERVED = dict(
    zip(
        contenders.STEPS,
        (mirrored(1), mirrored(0), turns, colours, crops, moves, blurs, sharpens, skews),
        strict=True,
    )
)


@pytest.mark.parametrize("step", contenders.STEPS)
@pytest.mark.parametrize("library", LIBRARIES)
def test_each_step_of_a_contender_does_what_it_is_called(library, step):
    torch.manual_seed(4)
    np.random.seed(4)
    OBSERVED[step](draws(library, contenders.STEPS.index(step)))


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_contender_has_the_nine_steps_and_no_other(library):
    for package in PACKAGES.get(library.partition(" ")[0], ()):
        pytest.importorskip(package)
    if library == "kornia functions":
        from fastleuk.bench.contenders import kornia_functions

        assert tuple(step.__name__ for step in kornia_functions.STEPS) == contenders.STEPS
        return
    steps = {
        "torchvision-pil": lambda: contenders.torchvision_steps(contenders.v1, SIDE),
        "torchvision-v2": lambda: contenders.torchvision_steps(contenders.v2, SIDE),
        "albumentations": lambda: contenders.albumentations_steps(SIDE),
        "kornia": lambda: contenders.kornia_steps(SIDE),
    }[library]()
    assert len(steps) == len(contenders.STEPS)


@pytest.fixture(scope="module")
def one_image(tmp_path_factory):
    """Sixteen files of one and the same picture, which no two feeds would tell apart plain."""
    root = tmp_path_factory.mktemp("probe")
    for number in range(16):
        image = probe()
        image[0, 0] = number  # or they would be dropped as copies
        name = ("all", "hem")[number % 2]
        (root / name).mkdir(exist_ok=True)
        Image.fromarray(image).save(root / name / f"{number}.bmp")
    return root


@pytest.mark.parametrize("method", [m for m in METHODS if m != "kornia-compiled"])
def test_what_a_feed_yields_is_augmented(method, one_image, spec, tmp_path):
    there, missing = available()
    if method not in there:
        pytest.skip(missing[method])
    torch.manual_seed(5)
    opened = replace(
        spec, method=method, data=str(one_image), subject_regex="", size=SIDE, cache=str(tmp_path),
        workers=int(method.startswith("dali")),
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        feed, close = open_feed(opened)
        count = 12 if "batch" in method else 3
        images = torch.cat([next(feed)[0].clone() for _ in range(count)])
        close()
    images = images.permute(0, 2, 3, 1).numpy()
    levels = 255 * (images * np.array(STD) + np.array(MEAN))
    if method == "torchvision-v2-batch":  # one draw a batch
        levels = levels[::16]
    assert levels.min() < 5  # black from outside the image, which has none itself
    assert len(np.unique(np.round(levels.mean(axis=(1, 2, 3)), 1))) > 0.7 * len(levels)
    sharp = edges(levels[:, 16:48, 16:48])
    assert sharp.std() > 0.05 * sharp.mean()
    middle = bright_middle(levels) - (SIDE - 1) / 2
    for axis in (0, 1):  # flipped and not
        assert 0.1 < (middle[:, axis] > 0).mean() < 0.9


def test_shards_are_no_food_for_a_dataloader(spec):
    from fastleuk.bench.contenders.dataloaders import open_manifest
    from fastleuk.errors import DataError

    manifest = SimpleNamespace(packed=True)
    assert hasattr(Manifest, "packed")
    with pytest.raises(DataError, match="tar shards"):
        open_manifest(spec, manifest)
