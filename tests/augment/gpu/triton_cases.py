"""Cases for the Triton kernels; as a program: runs them in Triton's interpreter.

``TRITON_INTERPRET=1 python triton_cases.py OUT.npz`` writes what comes out of each case. The
interpreter takes a tenth of a second for an image, half of one with perspective: few images, many
branches.
"""

import dataclasses
import sys

import numpy as np
from scipy.ndimage import gaussian_filter

from fastleuk.augment import PAPER, STEPS, AugmentParams, draw, identity
from fastleuk.augment.params import JITTER_STEPS
from tests.makers.bmp_files import bmp

SIZE = 48
ON = PAPER.replace(
    **{f.name: 1 for f in dataclasses.fields(PAPER) if f.name.startswith("p_")}, hue=0.5
)
SHAPES = {"equal": (48, 48), "small": (17, 23), "larger": (90, 80), "wide": (40, 110)}
"""Of the whole chain; all but the first are resized before it, here and below."""
FEW = {"larger": (60, 64), "one": (1, 1), "large": (130, 128), "large too": (100, 121)}
"""Of some steps."""
ALONE = (*STEPS, *JITTER_STEPS)
ORDERS = ((3, 2, 1, 0), (1, 3, 0, 2), (2, 0, 3, 1))
PLAIN = {"equal": (48, 48), "larger": (70, 50), "smaller": (20, 33), "large": (130, 128)}
"""Of images that are not augmented."""
BMP_SHAPE = (37, 45)
"""Rows of 135 bytes, padded to 136."""


def image(height, width, seed=0):
    """Smooth colours of the whole range, uint8 ``(height, width, 3)``."""
    rng = np.random.default_rng([seed, height, width])
    pixels = gaussian_filter(rng.random((height, width, 3)), (2, 2, 0), mode="nearest")
    pixels = (pixels - pixels.min()) / np.ptp(pixels)
    return np.ascontiguousarray((255 * pixels).round().astype(np.uint8))


def drawn(n, *, start=0):
    """Parameters of so many images, every step on."""
    return draw(ON, seed=5, epoch=0, indices=start + np.arange(n), size=SIZE)


def cases():
    """Return images and parameters of each case by its name."""
    square = image(48, 48)
    every = drawn(1, start=1)
    orders = dataclasses.replace(
        drawn(len(ORDERS)).only("color_jitter"), jitter_order=np.array(ORDERS)
    )
    return {
        "chain": ([image(*shape) for shape in SHAPES.values()], drawn(len(SHAPES))),
        "alone": (
            [square] * len(ALONE),
            AugmentParams.concatenate([only(every, step) for step in ALONE]),
        ),
        "orders": ([image(48, 48, 7)] * len(ORDERS), orders),
        "plain": ([image(*shape) for shape in PLAIN.values()], identity(len(PLAIN), SIZE)),
        "few": (
            [image(*shape) for shape in FEW.values()],
            drawn(len(FEW), start=8).only("rotate", "color_jitter"),
        ),
    }


def only(params, step) -> AugmentParams:
    """One of the nine steps, or one of the four of the jitter."""
    if step == "hflip" or step == "vflip":
        return dataclasses.replace(identity(len(params), SIZE), **{step: np.array([True])})
    if step in STEPS:
        return params.only(step)
    others = {name: getattr(identity(len(params), SIZE), name) for name in JITTER_STEPS}
    return dataclasses.replace(
        params.only("color_jitter"), **{**others, step: getattr(params, step)}
    )


def bmp_files():
    """Return the bytes of a BMP bottom-up and of one top-down, of the same pixels."""
    pixels = image(*BMP_SHAPE)
    return [np.frombuffer(bmp(pixels, top_down=top_down), np.uint8) for top_down in (False, True)]


def bmp_params():
    """Of the two augmented, and of the first un-augmented."""
    augmented = drawn(2, start=3).only("rotate", "affine")
    return AugmentParams.concatenate([augmented, identity(1, SIZE)])


RATIOS = (1, 1.25, 1.5, 2, 3)
"""Source pixels for one of the output, of images that are flipped only."""
FLIPS = ((False, False), (True, False), (False, True), (True, True))


def flips():
    """Return the images of :data:`RATIOS`, each four times, with the flips of :data:`FLIPS`."""
    edges = [round(SIZE * ratio) for ratio in RATIOS]
    images = [image(edge, edge - edge % 2, 3) for edge in edges for _ in FLIPS]
    across, down = np.array(FLIPS * len(RATIOS)).T
    params = dataclasses.replace(identity(len(images), SIZE), hflip=across, vflip=down)
    return images, params


FORMS = (("CHW", "float32"), ("HWC", "float16"), ("CHW", "bfloat16"))
"""Layouts and dtypes of an image of the chain."""


def by_kernels(images, params, **options):
    """What the kernels make of arrays."""
    import torch

    from fastleuk.augment.gpu.kernels import Kernels

    kernels = Kernels(SIZE, **{"normalize": False, "layout": "HWC", **options})
    return kernels([torch.from_numpy(array) for array in images], params)


def run(out):
    """Run every case and write the results."""
    found = {name: by_kernels(*case).numpy() for name, case in cases().items()}
    images, params = cases()["chain"]
    for layout, dtype in FORMS:
        options = {"normalize": True, "layout": layout, "dtype": dtype}
        result = by_kernels(images[:1], params.take([0]), **options)
        assert str(result.dtype) == f"torch.{dtype}"
        found[f"{layout} {dtype}"] = result.float().numpy()
    found["bmp"] = _from_bmp()
    found["flips"] = by_kernels(*flips()).numpy()
    np.savez(out, **found)


def _from_bmp():
    """Their bytes go up with the batch, and the kernels read the rows."""
    from fastleuk.augment.gpu.kernels import Kernels
    from fastleuk.augment.gpu.packing import Array, Images
    from fastleuk.augment.gpu.streams import HostStreams
    from fastleuk.augment.gpu.upload import UploadRing
    from fastleuk.data.images.bmp import read_layout
    from fastleuk.loading.gpu.sources import bmp_numbers

    files = [*bmp_files(), bmp_files()[0]]
    table = np.array([bmp_numbers(read_layout(file.tobytes())) for file in files])
    kernels = Kernels(SIZE, normalize=False, layout="HWC")
    images = Images(table, [Array(file) for file in files])
    packed = kernels.pack(images, kernels.rows(bmp_params()))
    layout = packed.layout
    ring = UploadRing(HostStreams(), slots=1)
    slot = ring.upload(
        lambda buffer: packed.uploads(buffer.data_ptr()),
        layout.images_up.stop,
        room=layout.room.stop,
    )
    with ring.reading(slot) as buffer:
        return kernels.launch(buffer, layout).numpy()


if __name__ == "__main__":
    run(sys.argv[1])
