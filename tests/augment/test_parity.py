"""The three appliers against each other and against the ideal, at equal parameters."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from fastleuk.augment import FLIPS_ROTATIONS, PAPER, STEPS, augment_batch, draw, identity
from fastleuk.augment.appliers.ideal import shift_hue
from fastleuk.augment.params import JITTER_STEPS
from tests.makers.augment_images import (
    COMPILED,
    demo_cells,
    foreground_error,
    hard_images,
    needs_numba,
    psnr,
    real_cells,
)
from tests.makers.tolerances import (
    COMPILED_CHAIN,
    EXACT_CHAIN,
    EXACT_STEP,
    FUSED_CHAIN,
    NEAREST_SHARE,
)

SIZE = 224
ON = PAPER.replace(
    **{f.name: 1 for f in dataclasses.fields(PAPER) if f.name.startswith("p_")}, brightness=0.5
)
HARD = hard_images()
GRAPHS = ["exact", "fused", COMPILED]


def levels(images, params, applier):
    return augment_batch(images, params, applier=applier, normalize=False).astype(np.float64)


def resized(images):
    return [np.asarray(Image.fromarray(i).resize((SIZE, SIZE), Image.BILINEAR)) for i in images]


@pytest.fixture(scope="module")
def cells():
    return demo_cells(16) + real_cells("cnmc", 8) + real_cells("pbc", 4)


def only(params, step):
    """One of the nine steps, or one of the four of the jitter."""
    if step in STEPS:
        return params.only(step)
    others = {name: getattr(identity(len(params), SIZE), name) for name in JITTER_STEPS}
    return dataclasses.replace(
        params.only("color_jitter"), **{**others, step: getattr(params, step)}
    )


def test_all_steps_have_a_tolerance():
    assert set(EXACT_STEP) == {"resize", *STEPS, *JITTER_STEPS} - {"color_jitter"}


@pytest.mark.parametrize("step", [step for step in EXACT_STEP if step != "resize"])
@pytest.mark.parametrize("images", ["cells", *HARD])
def test_exact_is_torchvision_step_by_step(images, step, cells):
    batch = cells if images == "cells" else [HARD[images]] * 4
    batch = resized(batch)
    params = draw(ON, seed=3, epoch=0, indices=np.arange(len(batch)), size=SIZE)
    params = only(params, step)
    difference = np.abs(levels(batch, params, "exact") - levels(batch, params, "reference"))
    tolerance = EXACT_STEP[step]
    share = (difference > tolerance.levels + 1e-3).mean()
    message = f"{share:.4%} of pixels differ by more than {tolerance.levels} levels, the worst "
    message += f"by {difference.max():.2f}; expected: {tolerance.excused:.2%} ({tolerance.reason})"
    assert share <= tolerance.excused, message


@pytest.mark.parametrize("hue", [-0.5, -0.4, -1 / 3, -0.2, -1 / 6, 0.1, 1 / 6, 0.25, 0.45, 0.5])
def test_exact_shifts_any_hue_of_any_colour(hue):
    params = dataclasses.replace(identity(2, SIZE), hue=np.full(2, hue))
    batch = resized([HARD["noise"], HARD["gradient"]])
    wanted = np.stack([shift_hue(image.astype(float), hue) for image in batch])
    assert np.abs(levels(batch, params, "exact") - wanted).max() < 1e-2
    assert np.abs(levels(batch, params, "reference") - wanted).max() < 1.01


def test_nearest_interpolation(cells):
    batch = resized(cells)
    policy = PAPER.replace(interpolation="nearest")
    params = draw(policy, seed=3, epoch=0, indices=np.arange(len(batch)), size=SIZE)
    for step in ("rotate", "affine"):
        chosen = params.only(step)
        ours, wanted = (levels(batch, chosen, name) for name in ("exact", "reference"))
        assert (ours != wanted).mean() < NEAREST_SHARE, step
        bilinear = levels(batch, dataclasses.replace(chosen, interpolation="bilinear"), "exact")
        assert (bilinear != wanted).mean() > 0.02  # the option does something


@pytest.fixture(
    scope="module",
    params=[("demo", 64), ("cnmc", 64), pytest.param(("demo", 512), marks=pytest.mark.slow)],
    ids=["demo", "cnmc", "demo-512"],
)
def chain(request):
    """Images, parameters, and what torchvision makes of them."""
    source, draws = request.param
    images = demo_cells(32) if source == "demo" else real_cells("cnmc", 11)
    if not images:
        pytest.skip("no real cells in ../shared/data/cnmc")
    images = (images * draws)[:draws]
    params = draw(PAPER, seed=1, epoch=0, indices=np.arange(draws), size=SIZE)
    return images, params, levels(images, params, "reference")


@pytest.mark.parametrize(
    ("applier", "tolerance"),
    [
        ("exact", EXACT_CHAIN),
        ("fused", FUSED_CHAIN),
        pytest.param("compiled", COMPILED_CHAIN, marks=needs_numba),
    ],
)
def test_chain_on_cells(chain, applier, tolerance):
    images, params, wanted = chain
    ours = levels(images, params, applier)
    ratio, foreground = psnr(ours, wanted), foreground_error(ours, wanted)
    print(
        f"{applier}: PSNR median {np.median(ratio):.1f} worst {ratio.min():.1f} dB, "
        f"foreground median {np.median(foreground):.2f} worst {foreground.max():.2f} levels"
    )
    assert np.median(ratio) >= tolerance.median_psnr, tolerance.reason
    assert ratio.min() >= tolerance.worst_psnr, tolerance.reason
    assert np.median(foreground) <= tolerance.median_foreground, tolerance.reason


@pytest.fixture(
    scope="module",
    params=["demo", *(pytest.param(name, marks=pytest.mark.slow) for name in ("cnmc", "pbc"))],
)
def ideal_images(request):
    """Images, parameters, and what mathematics makes of them."""
    from fastleuk.augment.appliers import ideal

    images = demo_cells(6) if request.param == "demo" else real_cells(request.param, 6)
    if not images:
        pytest.skip(f"no real cells in ../shared/data/{request.param}")
    params = draw(PAPER, seed=2, epoch=0, indices=np.arange(len(images)), size=SIZE)
    wanted = np.stack([ideal.apply(image, params, i) for i, image in enumerate(images)])
    return request.param, images, params, wanted


def test_fused_is_closer_to_the_ideal_than_torchvision(ideal_images):
    _, images, params, wanted = ideal_images
    ratio = {
        name: psnr(levels(images, params, name), wanted) for name in ("exact", "fused", "reference")
    }
    print({name: f"{np.median(r):.1f} dB, worst {r.min():.1f}" for name, r in ratio.items()})
    assert np.median(ratio["fused"]) > np.median(ratio["reference"]) + 3
    assert ratio["fused"].min() > ratio["reference"].min()
    assert np.median(ratio["fused"] - ratio["reference"]) > 3


@needs_numba
def test_compiled_is_far_closer_to_the_ideal_on_bright_images_too(ideal_images):
    _, images, params, wanted = ideal_images
    ours, theirs = (psnr(levels(images, params, a), wanted) for a in ("compiled", "reference"))
    print(f"compiled {np.median(ours):.1f}, torchvision {np.median(theirs):.1f} dB")
    assert (ours > theirs + 3).all()


@needs_numba
def test_compiled_takes_the_mean_of_the_turned_image():
    """Contrast about the mean: black corners of a turned white image belong to it."""
    params = dataclasses.replace(identity(1, SIZE), angle=[25.0], contrast=[0.5])
    ours, wanted = (
        levels([np.full((SIZE, SIZE, 3), 255, np.uint8)], params, applier)
        for applier in ("compiled", "reference")
    )
    middle = (0, slice(90, 134), slice(90, 134))
    assert abs(ours[middle] - wanted[middle]).max() < 1.5
    assert wanted[middle].mean() < 250  # the corners make a difference


@pytest.mark.parametrize("applier", GRAPHS)
@pytest.mark.parametrize("name", ["noise", "non-square", "tiny", "gradient", "checkerboard"])
def test_identity_is_the_plain_resize(applier, name):
    """Bit for bit DALI's resize, and within rounding torchvision's; also beside others."""
    batch = [HARD[name]] * 3
    params = identity(3, 96)
    ours = levels(batch, params, applier)
    inner = (slice(None), slice(2, -2), slice(2, -2))
    difference = np.abs(ours - levels(batch, params, "reference"))[inner].max()
    assert difference <= EXACT_STEP["resize"].levels, EXACT_STEP["resize"].reason
    np.testing.assert_array_equal(ours, np.rint(ours))
    mixed = draw(PAPER, seed=1, epoch=0, indices=[0, 1, 2], size=96, augmented=[True, False, True])
    np.testing.assert_array_equal(levels(batch, mixed, applier)[1], ours[1])
    assert (levels(batch, mixed, applier)[0] != ours[0]).any()


@pytest.mark.parametrize("edge", [100, 224, 300, 450, 900])
@pytest.mark.parametrize("applier", GRAPHS[1:])
def test_any_source_size_is_resampled_without_a_shift(edge, applier):
    """A slope shows a shift of a tenth of a pixel as a tenth of its rise."""
    x = np.linspace(10, 240, edge)
    slope = np.stack(np.broadcast_arrays(x[None, :], x[:, None], 125.0), -1).round()
    params = dataclasses.replace(identity(1, SIZE), hflip=[True], angle=[20.0])
    ours, wanted = (levels([slope.astype(np.uint8)], params, a) for a in (applier, "reference"))
    middle = (0, slice(60, -60), slice(60, -60))
    assert abs((ours - wanted)[middle].mean(axis=(0, 1))).max() < 0.1  # a pixel is 1.03 levels
    assert abs(ours - wanted)[middle].max() < 1.6


@pytest.mark.parametrize("applier", GRAPHS)
def test_geometry_of_size_preserving_policy(applier):
    """The area of a disc stays under flips and rotations."""
    y, x = np.mgrid[:450, :450] - 224.5
    disc = np.where((x**2 + y**2 < 150**2)[..., None], 200, 0).astype(np.uint8).repeat(3, -1)
    params = draw(FLIPS_ROTATIONS, seed=1, epoch=0, indices=np.arange(16), size=SIZE)
    area = levels([disc] * 16, params, applier)[..., 0].sum(axis=(1, 2)) / 200
    np.testing.assert_allclose(area, np.pi * (150 * SIZE / 450) ** 2, rtol=0.002)


@pytest.mark.parametrize("applier", GRAPHS)
@pytest.mark.parametrize("name", HARD)
def test_hard_images_stay_in_range(applier, name):
    batch = [HARD[name]] * 8
    params = draw(PAPER, seed=5, epoch=0, indices=np.arange(8), size=SIZE)
    ours = levels(batch, params, applier)
    assert np.isfinite(ours).all()
    # linear interpolation and blur of values within the range stay within; float32 rounding
    assert ours.min() >= -1e-3
    assert ours.max() <= 255 + 1e-3


@pytest.mark.parametrize("applier", GRAPHS)
def test_mixed_sizes_and_any_output_size(applier):
    rng = np.random.default_rng(0)
    smooth = [
        np.kron(rng.integers(0, 200, (4, 4, 3)), np.ones((h, w, 1))).astype(np.uint8)
        for h, w in ((8, 20), (60, 50), (130, 100), (33, 33))
    ]
    params = draw(PAPER, seed=4, epoch=0, indices=np.arange(4), size=64)
    together = levels(smooth, params, applier)
    assert together.shape == (4, 64, 64, 3)
    for i, image in enumerate(smooth):
        alone = levels([image], params.take([i]), applier)[0]
        np.testing.assert_allclose(alone, together[i], atol=1e-3)
