"""Colors of photographs: no applier may be further from the float64 ideal than torchvision."""

from pathlib import Path

import numpy as np
import pytest
import sklearn.datasets
from PIL import Image

from fastleuk.augment import PAPER, AugmentPolicy, augment_batch, draw
from fastleuk.augment.appliers import ideal
from tests.makers.augment_images import COMPILED, demo_cells, psnr

SIZE, DRAWS = 64, 12
PHOTOS = Path(sklearn.datasets.__file__).parent / "images"
APPLIERS = ["fused", "exact", COMPILED]


def jitter(brightness, contrast, saturation, hue):
    ranges = {"brightness": brightness, "contrast": contrast, "saturation": saturation, "hue": hue}
    return AugmentPolicy(p_jitter=1.0, **ranges)


POLICIES = {
    "PAPER": jitter(0.3, 0.3, 0.3, 0.05),
    "ImageNet": jitter(0.4, 0.4, 0.4, 0.1),
    "SimCLR": jitter(0.8, 0.8, 0.8, 0.2),
    "narrow hue": jitter(0, 0, 0, 0.1),
    "wide hue": jitter(0, 0, 0, 0.5),
    "wide hue, factors to 3": jitter((0, 3), (0, 3), (0, 3), 0.5),
    "no hue, factors to 3": jitter((0, 3), (0, 3), (0, 3), 0),
}


def photo(name):
    image = Image.open(PHOTOS / f"{name}.jpg").convert("RGB")
    return np.asarray(image.resize((SIZE, SIZE), Image.BILINEAR))


def levels(images, params, applier):
    return augment_batch(images, params, applier=applier, normalize=False).astype(np.float64)


def ideal_jitter(images, params):
    """Every pixel by itself in float64: no resampling stands beside the colors."""
    pixels = [image.astype(np.float64) for image in images]
    rows = [params.take([i]) for i in range(len(params))]
    pivots = [ideal.jitter_pivots(*pair) for pair in zip(pixels, rows, strict=True)]
    return np.stack([ideal.jitter(*of_one) for of_one in zip(pixels, pivots, rows, strict=True)])


@pytest.mark.parametrize("applier", APPLIERS)
@pytest.mark.parametrize("policy", POLICIES)
def test_photographs_keep_their_colors_as_well_as_torchvisions(policy, applier):
    images = [photo("china"), photo("flower")] * DRAWS
    params = draw(POLICIES[policy], seed=3, epoch=0, indices=np.arange(2 * DRAWS), size=SIZE)
    wanted = ideal_jitter(images, params)
    ours, theirs = (psnr(levels(images, params, a), wanted) for a in (applier, "reference"))
    # 0.5 dB: a pivot of contrast from fewer points than all; above 50 dB is less than a level
    short = np.minimum(theirs, 50) - ours
    assert short.max() <= 0.5, f"draw {short.argmax()}: {ours.min():.1f} dB, {theirs.min():.1f}"


def test_the_whole_chain_on_photographs():
    images = [photo("china"), photo("flower")] * 6
    params = draw(PAPER, seed=5, epoch=0, indices=np.arange(len(images)), size=SIZE)
    wanted = np.stack([ideal.apply(image, params, i) for i, image in enumerate(images)])
    ours, theirs = (psnr(levels(images, params, a), wanted) for a in ("fused", "reference"))
    assert (theirs - ours).max() <= 0.5


def test_the_affine_map_is_still_used_where_it_is_near():
    """Else ``fused`` would cost as much as ``exact``: a cell under the paper's narrow hue."""
    from nvidia.dali import fn, pipeline_def

    from fastleuk.augment.appliers import exact, fused
    from fastleuk.augment.appliers.lowering import param_arrays, param_names

    cells = [
        np.asarray(Image.fromarray(cell).resize((SIZE, SIZE), Image.BILINEAR))
        for cell in demo_cells(12)
    ]
    batch = [*cells, photo("china"), photo("flower")]
    names = param_names("fused")

    def is_far(policy):
        params = draw(policy, seed=3, epoch=0, indices=np.arange(len(batch)), size=SIZE)

        @pipeline_def(batch_size=len(batch), num_threads=1, device_id=None)
        def define():
            images = fn.external_source(lambda: batch, batch=True, layout="HWC")
            nodes = fn.external_source(
                lambda: param_arrays(params, "fused"), num_outputs=len(names), batch=True
            )
            values = dict(zip(names, nodes, strict=True))
            points = fused._matrix(values, "points")
            sample = exact.warp_perspective(images, matrix=points, size=(fused.SAMPLE,) * 2)
            # every array is an output: DALI warns of sources that are not used
            return fused._is_far(sample, fused.colour_columns(sample, values), values), *nodes

        pipeline = define()
        pipeline.build()
        return np.array(pipeline.run()[0].as_tensor())

    assert is_far(POLICIES["PAPER"])[: len(cells)].mean() < 0.5
    assert is_far(POLICIES["wide hue"])[len(cells) :].all()
