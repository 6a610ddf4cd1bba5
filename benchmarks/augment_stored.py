"""What a decoded cache could hold, and what that is worth: part of ``augment_parity.py``.

The cache holds the images at the input's size or (``SOURCE``) at their own; sizes in between are
measured here on arrays, resized once by DALI and rounded to whole levels as the cache is.
"""

import dataclasses
import statistics
import time

import numpy as np

from fastleuk.augment import PAPER, AugmentParams, augment_batch, draw
from fastleuk.augment.appliers import ideal
from fastleuk.augment.params import identity
from tests.makers.augment_images import psnr

SIZE = 224
CHUNK = 64
STORED = (224, 256, 288, 320, 384)
IMAGES = 12_528
"""Of C-NMC: the number for which bytes on the disk are given."""
ROUNDS = 5


@dataclasses.dataclass(frozen=True)
class Case:
    """Images with one draw each, and the ideal result."""

    name: str
    images: list[np.ndarray]
    params: AugmentParams
    wanted: np.ndarray


def ideal_case(name: str, images: list[np.ndarray], draws: int) -> Case:
    """``draws`` images, the first again after the last, and what should become of them."""
    batch = (images * draws)[:draws]
    params = draw(PAPER, seed=2, epoch=0, indices=np.arange(draws), size=SIZE)
    wanted = np.stack([ideal.apply(image, params, i) for i, image in enumerate(batch)])
    return Case(name, batch, params, wanted)


def levels(images, params, applier):
    """The chain's result in levels, by batches of :data:`CHUNK`."""
    parts = [
        augment_batch(
            images[i : i + CHUNK],
            params.take(slice(i, i + CHUNK)),
            applier=applier,
            normalize=False,
        )
        for i in range(0, len(images), CHUNK)
    ]
    return np.concatenate(parts)


def stored(images, edge):
    """The images as a cache of that size would hold them: uint8, antialiased."""
    resized = levels(images, identity(len(images), edge), "exact")
    return list(np.rint(resized).astype(np.uint8))


def stored_rows(cases, appliers, seconds):
    """For each size: bytes on the disk, nearness to the ideal, and images a second."""
    rows = []
    for case in cases:
        ways = {"their own size": case.images}
        largest = max(max(image.shape) for image in case.images)
        smaller = [edge for edge in STORED if edge < largest]
        ways |= {f"{edge} x {edge}": stored(case.images, edge) for edge in smaller}
        speed = images_per_second(list(ways.values()), appliers, seconds) if seconds else None
        for i, (name, images) in enumerate(ways.items()):
            size = statistics.mean(image.nbytes for image in images)
            row = {"images": case.name, "stored": name, f"GB for {IMAGES:,}": size * IMAGES / 1e9}
            for applier in appliers:
                ratio = psnr(levels(images, case.params, applier), case.wanted)
                row[f"{applier}: PSNR median"] = float(np.median(ratio))
                row[f"{applier}: worst"] = float(ratio.min())
                if speed:
                    row[f"{applier}: images/s"] = float(round(speed[applier, i]))
            rows.append(row)
    return rows


def images_per_second(ways, appliers, seconds):
    """The median over rounds in which all take turns, so that a busy machine slows all alike.

    Of ``augment_batch`` from arrays in memory to normalised planes: drawing is left out, reading
    from a disk too.
    """
    rates = {}
    params = draw(PAPER, seed=3, epoch=0, indices=np.arange(CHUNK), size=SIZE)
    for measured in [False] + [True] * ROUNDS:  # the first builds pipelines and compiles
        for applier in appliers:
            for i, images in enumerate(ways):
                batch = (images * CHUNK)[:CHUNK]
                start, count = time.perf_counter(), 0
                while count == 0 or (measured and time.perf_counter() - start < seconds / ROUNDS):
                    augment_batch(batch, params, applier=applier, layout="CHW")
                    count += CHUNK
                if measured:
                    rate = count / (time.perf_counter() - start)
                    rates.setdefault((applier, i), []).append(rate)
    return {key: statistics.median(values) for key, values in rates.items()}
