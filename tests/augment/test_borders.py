"""What happens at an image's edge: the same by every applier, from sources of any size."""

import dataclasses

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastleuk.augment import NONE, PAPER, augment_batch, draw, identity
from fastleuk.augment.appliers import lowering
from fastleuk.augment.appliers.lowering import fused_arrays
from tests.makers.augment_images import COMPILED, needs_numba
from tests.makers.bmp_files import bmp
from tests.makers.tolerances import BORDER

SIZE = 112
FAST = ["fused", COMPILED]
SHAPES = [
    *((edge, edge) for edge in (1, 2, 3, 5, 8, 14, 50, 100, 111, 112, 113, 150)),
    *((edge, edge) for edge in (167, 168, 169, 180, 225, 279, 280, 281, 300)),
    *((150, 50), (225, 50), (14, 112), (50, 225), (1, 250), (169, 113)),
]


def uniform(height, width):
    return np.full((height, width, 3), 200, np.uint8)


def gradient(height, width):
    """Red to the right, green down, blue both ways."""
    y, x = np.mgrid[:height, :width]
    x, y = x / max(width - 1, 1), y / max(height - 1, 1)
    return (255 * np.stack([x, y, (x + y) / 2], axis=-1)).round().astype(np.uint8)


def levels(images, params, applier):
    return augment_batch(images, params, applier=applier, normalize=False)


def geometry(step, count, seed=1):
    """Parameters with one step of the geometry on."""
    policy = PAPER.replace(p_hflip=1.0, p_crop=1.0, p_affine=1.0, p_rotation=1.0)
    params = draw(policy, seed=seed, epoch=0, indices=np.arange(count), size=SIZE)
    return params.only(step)


def assert_as_exact(images, params, applier, what):
    found, expected = levels(images, params, applier), levels(images, params, "exact")
    worst = np.abs(found - expected).max(axis=(1, 2, 3))
    bad = [f"{i.shape[:2]}: {w:.1f}" for i, w in zip(images, worst, strict=True) if w > BORDER]
    assert not bad, f"{applier}, {what}: more than {BORDER} levels from exact: {bad}"


@pytest.mark.parametrize("applier", FAST)
@pytest.mark.parametrize("step", ["hflip", "vflip", "rotate", "resized_crop", "affine"])
@pytest.mark.parametrize("make", [uniform, gradient])
def test_every_pixel_is_where_it_is_if_resized_first(make, step, applier):
    """Corners and edges included: what is black beyond an image has an edge of one *output*
    pixel, and a crop and a flip have none."""
    images = [make(*shape) for shape in SHAPES]
    assert_as_exact(images, geometry(step, len(images)), applier, step)


@needs_numba
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    shape=st.tuples(st.integers(1, 600), st.integers(1, 600)),
    step=st.sampled_from(["hflip", "rotate", "resized_crop", "affine"]),
    seed=st.integers(0, 1000),
)
def test_sources_of_any_shape(shape, step, seed):
    images = [uniform(*shape), gradient(*shape)]
    for applier in ("fused", "compiled"):
        assert_as_exact(images, geometry(step, 2, seed), applier, step)


@pytest.mark.parametrize("applier", ["reference", "exact", *FAST])
@pytest.mark.parametrize("shape", [(28, 28), (100, 100), (180, 180), (450, 100)])
def test_a_flipped_image_has_no_frame(shape, applier):
    params = dataclasses.replace(identity(1, SIZE), hflip=np.ones(1, bool))
    found = levels([uniform(*shape)], params, applier)
    assert np.abs(found - 200).max() < 0.01


@pytest.mark.parametrize("applier", ["compiled", "fused"])
def test_the_augmentation_cannot_be_read_off_the_frame(tmp_path, applier):
    """From files smaller than the input, augmented images and originals have equal edges."""
    if applier == "compiled":
        pytest.importorskip("numba")
    torch = pytest.importorskip("torch")
    from fastleuk.config import LoaderConfig
    from fastleuk.data.discover import discover
    from fastleuk.loading import has_dali, make_loader
    from fastleuk.loading.stream import TrainStream

    if not has_dali():
        pytest.skip("NVIDIA DALI is not installed")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        for number in range(8):
            pixels = np.full((72, 72, 3), 200, np.uint8)
            pixels[30:40, 30:40] = 10 * number + 100 * (name == "one")
            (tmp_path / name / f"{name}{number}.bmp").write_bytes(bmp(pixels))
    manifest = discover(tmp_path).manifest
    stream = TrainStream(
        manifest.labels,
        np.arange(16),
        per_class="off",
        originals=0.5,
        frozen=False,
        seed=1,
        batch_size=16,
    )
    loader = make_loader(
        manifest=manifest,
        stream=stream,
        config=LoaderConfig(loader="dali", size=128, workers=1, cache="off"),
        policy=NONE.replace(p_hflip=1.0),
        mean=(0.0, 0.0, 0.0),
        std=(1 / 255,) * 3,
        device=torch.device("cpu"),
        applier=applier,
    )
    plans = list(stream.batches(1, 0))
    (batch,) = loader.epoch(1)
    loader.close()
    augmented = torch.from_numpy(np.asarray(plans[0].augmented))
    assert 0 < augmented.sum() < 16
    frame = torch.cat(
        [
            batch.images[:, :, 0],
            batch.images[:, :, -1],
            batch.images[..., 0],
            batch.images[..., -1],
        ],
        dim=-1,
    )
    assert (frame[augmented] - 200).abs().max() < 0.01
    assert (frame[~augmented] - 200).abs().max() < 0.01


@pytest.mark.parametrize("factor", [0.7, 1.3])
@pytest.mark.parametrize("applier", ["exact", *FAST])
def test_contrast_pivots_on_the_rotated_image_with_its_black_corners(applier, factor):
    """As torchvision, whose jitter comes after the rotation."""
    params = dataclasses.replace(
        identity(1, SIZE), angle=np.full(1, 25.0), contrast=np.full(1, factor)
    )
    grey = [np.full((SIZE, SIZE, 3), 180, np.uint8)]
    wanted = levels(grey, params, "reference")[0, 40:-40, 40:-40].mean()
    assert abs(wanted - 180) > 5  # the corners matter
    found = levels(grey, params, applier)[0, 40:-40, 40:-40]
    assert np.abs(found - wanted).max() < 1.5


@needs_numba
@pytest.mark.parametrize("applier", ["exact", *FAST])
def test_contrast_pivots_on_the_mean_of_the_whole_image(applier):
    """Not of a part of it: here one quarter is darker than the rest."""
    image = np.full((SIZE, SIZE, 3), 200, np.uint8)
    image[: SIZE // 2, : SIZE // 2] = 40
    params = dataclasses.replace(identity(1, SIZE), contrast=np.full(1, 0.5))
    wanted = levels([image], params, "reference")
    assert np.abs(levels([image], params, applier) - wanted).max() < 1.5


@needs_numba
@pytest.mark.parametrize(
    ("size", "kernel_size"),
    [
        (1, 3), (2, 31), (3, 7),
        *(pytest.param(size, kernel_size, marks=pytest.mark.slow)
          for size in (1, 2, 3, 4, 7, 16) for kernel_size in (3, 7, 31)),
    ],
)  # fmt: skip
def test_kernels_wider_than_the_image_mirror_it_again_and_again(size, kernel_size):
    """The same result by every applier, and twice."""
    rng = np.random.default_rng(size)
    images = list(rng.integers(0, 256, (3, size, size, 3), dtype=np.uint8))
    policy = NONE.replace(p_blur=1.0, kernel_size=kernel_size, sigma=(2.0, 4.0))
    params = draw(policy, seed=1, epoch=0, indices=np.arange(3), size=size)
    expected = levels(images, params, "exact")
    assert np.abs(levels(images, params, "reference") - expected).max() < 0.52
    sharp = dataclasses.replace(params, sharpness=np.full(3, 2.0))
    for applier in ("fused", "compiled"):
        assert np.abs(levels(images, params, applier) - expected).max() < 0.01
        first, second = (levels(images, sharp, applier) for _ in range(2))
        assert np.array_equal(first, second)
        # The outermost pixels: exact sharpens them against copies of themselves, torchvision not
        # at all. Within, exact rounds the blurred image, and sharpening doubles that.
        if size > 2:
            difference = np.abs(first - levels(images, sharp, "exact"))
            assert difference[:, 1:-1, 1:-1].max() < 3


def test_fused_blackens_only_where_an_edge_is_seen(monkeypatch):
    """A crop from within a rotated image has no edge to blacken: the pixels stay the same."""
    policy = NONE.replace(p_rotation=1.0, degrees=20, p_crop=1.0, crop_scale=(0.3, 0.6))
    params = draw(policy, seed=1, epoch=0, indices=np.arange(40), size=SIZE)
    images = [uniform(150, 130)] * 40
    seen = fused_arrays(params)["edge_seen"]
    found = levels(images, params, "fused")
    monkeypatch.setattr(lowering, "_sees_edge", lambda *_: np.ones(40, bool))
    assert 10 < seen.sum() < 30
    np.testing.assert_array_equal(found, levels(images, params, "fused"))
    assert (found[seen].min(axis=(1, 2, 3)) < 199).all()  # and no sample is blackened in vain
    assert (found[~seen].min(axis=(1, 2, 3)) > 199.9).all()
