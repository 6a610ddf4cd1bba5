"""Cases for the Triton kernels; as a program: runs them in Triton's interpreter.

``TRITON_INTERPRET=1 python triton_cases.py OUT.npz`` writes what comes out of each case.
"""

import dataclasses
import sys

import numpy as np
from scipy.ndimage import gaussian_filter

from fastleuk.augment import PAPER, STEPS, AugmentParams, draw, identity
from fastleuk.augment.params import JITTER_STEPS
from tests.makers.bmp_files import bmp

SIZE = 48
BLOCK = 4096
"""One program an image: the interpreter takes each for itself."""
ON = PAPER.replace(
    **{f.name: 1 for f in dataclasses.fields(PAPER) if f.name.startswith("p_")}, hue=0.5
)


def image(height, width, seed=0):
    """Smooth colours of the whole range, uint8 ``(height, width, 3)``."""
    rng = np.random.default_rng([seed, height, width])
    pixels = gaussian_filter(rng.random((height, width, 3)), (2, 2, 0), mode="nearest")
    pixels = (pixels - pixels.min()) / np.ptp(pixels)
    return np.ascontiguousarray((255 * pixels).round().astype(np.uint8))


SHAPES = {
    "equal": (48, 48),
    "small": (17, 23),
    "larger": (60, 64),
    "boxed": (90, 80),
    "wide": (40, 110),
    "one": (1, 1),
}


def cases():
    """Return images and parameters of each case by its name."""
    params = draw(ON, seed=5, epoch=0, indices=np.arange(6), size=SIZE)
    mixed = [image(*shape) for shape in SHAPES.values()]
    found = {"chain": (mixed, params), "nothing": (mixed[:1] * 2, identity(2, SIZE))}
    square = [image(48, 48, seed) for seed in range(2)]
    for step in (*STEPS, *JITTER_STEPS):
        found[step] = (square, only(params.take([0, 1]), step))
    orders = [(3, 2, 1, 0), (1, 3, 0, 2), (2, 0, 3, 1)]
    rows = params.take([0, 1, 2]).only("color_jitter")
    jitter = dataclasses.replace(rows, jitter_order=np.array(orders))
    found["orders"] = ([image(48, 48, 7)] * 3, jitter)
    return found


def only(params, step) -> AugmentParams:
    """One of the nine steps, or one of the four of the jitter."""
    if step in STEPS:
        return params.only(step)
    others = {name: getattr(identity(len(params), SIZE), name) for name in JITTER_STEPS}
    return dataclasses.replace(
        params.only("color_jitter"), **{**others, step: getattr(params, step)}
    )


BMP_SHAPE = (37, 45)
"""Rows of 135 bytes, padded to 136."""


def bmp_files():
    """Return the bytes of a BMP bottom-up and of one top-down, of the same pixels."""
    pixels = image(*BMP_SHAPE)
    return [np.frombuffer(bmp(pixels, top_down=top_down), np.uint8) for top_down in (False, True)]


def loaded(pixels, stream, labels, resident):
    """The batches of an epoch by the loader of a GPU, on the CPU."""
    from types import SimpleNamespace

    import torch

    from fastleuk.loading.gpu import GpuLoader

    size = pixels.shape[1]
    cache = SimpleNamespace(size=size, images=lambda rows: [pixels[row] for row in rows])
    there = torch.from_numpy(pixels) if resident else None
    loader = GpuLoader(
        manifest=SimpleNamespace(labels=labels),
        stream=stream,
        size=size,
        prefetch=2,
        seed=3,
        mean=(0.5, 0.4, 0.3),
        std=(0.2, 0.3, 0.4),
        device=torch.device("cpu"),
        pixels=SimpleNamespace(cache=cache, resident=there),
        policy=PAPER,
        block=BLOCK,
    )
    batches = list(loader.epoch(1, 1))
    assert all(b.images.is_contiguous(memory_format=torch.channels_last) for b in batches)
    return batches


LOADED = 20, 24
"""Images of the loader's case, and their size."""


def loaded_pixels():
    """Return the images and their labels."""
    count, size = LOADED
    pixels = np.stack([image(size, size, seed) for seed in range(count)])
    return pixels, np.arange(count) % 2


def loaded_stream():
    """Return the order: batches of 7, half of the images un-augmented."""
    from fastleuk.loading.stream import TrainStream

    _, labels = loaded_pixels()
    return TrainStream(
        labels,
        np.arange(len(labels)),
        per_class="off",
        originals=0.5,
        frozen=False,
        seed=3,
        batch_size=7,
    )


def run(out):
    """Run every case and write the results."""
    import torch

    from fastleuk.augment.gpu.images import Kernels

    found = {}
    for name, (images, params) in cases().items():
        kernels = Kernels(SIZE, normalize=False, layout="HWC", block=BLOCK)
        found[name] = kernels([torch.from_numpy(i) for i in images], params).numpy()
    images, params = cases()["chain"]
    for layout, dtype in (("CHW", "float32"), ("HWC", "float16"), ("CHW", "bfloat16")):
        kernels = Kernels(SIZE, layout=layout, dtype=dtype, block=BLOCK)
        result = kernels([torch.from_numpy(i) for i in images], params)
        assert result.dtype == getattr(torch, dtype)
        found[f"{layout} {dtype}"] = result.float().numpy()
    found["bmp"] = _from_bmp(params.take([3, 4]))
    for resident in (False, True):
        batches = loaded(*loaded_pixels()[:1], loaded_stream(), loaded_pixels()[1], resident)
        name = f"loaded {resident}"
        found[name] = torch.cat([batch.images for batch in batches]).numpy()
        found[f"{name} labels"] = torch.cat([batch.labels for batch in batches]).numpy()
        found[f"{name} indices"] = torch.cat([batch.indices for batch in batches]).numpy()
    found["self-test"] = np.array([_self_test()])
    np.savez(out, **found)


def _self_test():
    """What the self-test finds of kernels that are right, as text."""
    import torch

    from fastleuk.augment.gpu.images import Kernels
    from fastleuk.augment.gpu.selftest import self_test

    def apply(images, params, _applier):
        kernels = Kernels(params.size, normalize=False, layout="HWC", block=BLOCK)
        return kernels([torch.from_numpy(i) for i in images], params).numpy()

    verdict = self_test("compiled", apply)
    return f"{verdict.passed} {verdict.found}"


def _from_bmp(params):
    import torch

    from fastleuk.augment.gpu.images import Kernels, packed_rows

    table, files = [], bmp_files()
    height, width = BMP_SHAPE
    stride = (3 * width + 3) // 4 * 4
    for file, up in zip(files, (True, False), strict=True):
        first = file.__array_interface__["data"][0] + 54 + (stride * (height - 1) if up else 0)
        table.append((first, -stride if up else stride, height, width, 1))
    rows = packed_rows(params)
    parts = [np.array(table, np.int64), rows]
    buffer = np.concatenate([part.reshape(-1).view(np.uint8) for part in parts])
    kernels = Kernels(SIZE, normalize=False, layout="HWC", block=BLOCK)
    return kernels.launch(torch.from_numpy(buffer), 2, rows.shape[1]).numpy()


if __name__ == "__main__":
    run(sys.argv[1])
