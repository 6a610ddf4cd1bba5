"""Random batches through the kernels in Triton's interpreter, with every address checked.

``TRITON_INTERPRET=1 python kernel_bounds.py ROUNDS KINDS`` prints what was found, as JSON; with
``mutants NAME…``, what is found in those of :data:`MUTANTS`.
"""

import dataclasses
import importlib
import json
import sys
import tempfile
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from fastleuk.augment import PAPER, draw
from fastleuk.augment.appliers import compiled
from fastleuk.augment.gpu.kernels import DTYPES
from fastleuk.augment.gpu.packing import Array, Images, on_device
from fastleuk.augment.gpu.streams import HostStreams
from fastleuk.augment.gpu.upload import UploadRing
from fastleuk.errors import ConfigError
from tests.augment.gpu.kernel_memory import Memory, ObservedKernels

SIZES = (3, 5, 1, 16, 2, 7, 4)
MUTANTS = {
    "pivot stored with contrast only": (
        "gpu",
        "    tl.store(pivots + n, tl.sum",
        "    if tl.load(row + CONTRAST) != 1:\n        tl.store(pivots + n, tl.sum",
        "warp_and_jitter: pivots is read before it is written",
    ),
    "a column too far": (
        "gpu_source",
        "tl.maximum(column, 0), width - 1)",
        "tl.maximum(column, 0), width)",
        "resize: an image is read between its rows",
    ),
    "a row too far": (
        "gpu_source",
        "tl.maximum(row, 0), height - 1)",
        "tl.maximum(row, 0), height)",
        "load outside of what it may load",
    ),
    "reflected at the wrong pixel": (
        "gpu",
        "return tl.minimum(k, period - k)",
        "return tl.minimum(k, period - k + 2)",
        "filter_and_write: load outside",
    ),
    "a pixel too early": (
        "gpu",
        "    target = canvas + n.to(tl.int64) * (3 * SIZE * SIZE) + k\n",
        "    target = canvas + n.to(tl.int64) * (3 * SIZE * SIZE) + k - 1\n",
        "warp_and_jitter: canvas is written [0, 1] times",
    ),
    "a pixel too many": (
        "gpu_resize",
        "    mask = k < SIZE * SIZE\n",
        "    mask = k <= SIZE * SIZE\n",
        "resize: ",
    ),
    "a plane left out": (
        "gpu",
        "        tl.store(output + 3 * k + 1, g.to(kind), mask)\n",
        "",
        "filter_and_write: output is written [0, 1] times",
    ),
}
"""Faults: module, text, its replacement, and the beginning or a part of what is to be found."""


class InterpretedKernels(ObservedKernels):
    """Run by the interpreter, whose loads and stores are checked and, if wrong, masked."""

    def _run(self, name, grid, tensors, constants):
        with checked_interpreter(self.memory):
            getattr(self._module, name)[grid](*tensors.values(), **constants)


@contextmanager
def checked_interpreter(memory):
    """Replace the load and the store of Triton's interpreter."""
    from triton.runtime import interpreter

    real = interpreter._interpreter

    class Checked:
        def __getattr__(self, name):
            return getattr(real, name)

        def load(self, pointers, mask, other, dtype):
            itemsize = np.dtype(dtype).itemsize
            return real.load(pointers, allowed(memory.load, pointers, mask, itemsize), other, dtype)

        def store(self, pointers, values, mask):
            itemsize = np.asarray(values).dtype.itemsize
            return real.store(pointers, values, allowed(memory.store, pointers, mask, itemsize))

    def allowed(check, pointers, mask, itemsize):
        flat = np.asarray(pointers, np.uint64).reshape(-1).astype(np.int64)
        active = np.flatnonzero(np.broadcast_to(mask, np.shape(pointers)).reshape(-1))
        good = np.zeros(len(flat), bool)
        for _, _, where in check(flat[active], itemsize):
            good[active[where]] = True
        return good.reshape(np.shape(pointers))

    interpreter._interpreter = Checked()
    try:
        yield
    finally:
        interpreter._interpreter = real


def random_policy(rng, kernel_sizes):
    """Any steps, some at the ends of their ranges; contrast in two thirds."""
    steps = [f.name for f in dataclasses.fields(PAPER) if f.name.startswith("p_")]
    return PAPER.replace(
        **{name: float(rng.choice([0, 0.5, 1])) for name in steps},
        kernel_size=int(rng.choice(kernel_sizes)),
        contrast=float(rng.choice([0.0, 0.3, 1.0])),
        hue=float(rng.choice([0, 0.5])),
        degrees=float(rng.choice([0, 25, 180])),
        shear=float(rng.choice([0, 10, 60])),
        translate=(float(rng.choice([0, 0.05, 0.9])), 0.05),
    )


def random_batch(rng, size, kernel_sizes):
    """Parameters of two images, one of them un-augmented, and their shapes."""
    indices, augmented = rng.integers(0, 1000, 2), rng.permutation([True, False])
    while True:
        policy = random_policy(rng, kernel_sizes)
        try:
            params = draw(policy, seed=1, epoch=0, indices=indices, size=size, augmented=augmented)
            break
        except ConfigError:  # no such step for so small an image
            continue
    edges = [1, 2, size + 1, int(1.6 * size) + 1, 2 * size, 3 * size + 2]
    shapes = [tuple(int(edge) for edge in rng.choice(edges, 2)) for _ in range(2)]
    if rng.integers(2):
        shapes[int(rng.integers(2))] = (size, size)
    return params, augmented, shapes


def in_place(rng, shapes):
    """Images on the device, with gaps between their rows."""
    tensors = []
    for height, width in shapes:
        row = 3 * width + int(rng.integers(0, 9))
        memory = torch.from_numpy(rng.integers(0, 256, height * row + 16, dtype=np.uint8))
        tensors.append(memory.as_strided((height, width, 3), (row, 3, 1), int(rng.integers(8))))
    return on_device(tensors)


def as_bmps(rng, shapes):
    """Images that go up as the bytes of BMPs: padded, bottom-up or cropped, blue first."""
    table, uploads = [], []
    for height, width in shapes:
        stride = (3 * width + 3) // 4 * 4 + 4 * int(rng.integers(2))
        start = int(rng.integers(54, 70))
        data = rng.integers(0, 256, start + height * stride, dtype=np.uint8)
        uploads.append(Array(data[: start + (height - 1) * stride + 3 * width]))
        if rng.integers(2):
            table.append((start + (height - 1) * stride, -stride, height, width, 1))
        else:
            table.append((start, stride, height, width, int(rng.integers(2))))
    return Images(np.array(table, np.int64), uploads)


def run(kernels, images, params):
    """Upload and launch a batch as the loaders do."""
    packed = kernels.pack(images, kernels.rows(params))
    layout = packed.layout
    ring = UploadRing(HostStreams(), slots=1)
    slot = ring.upload(
        lambda buffer: packed.uploads(buffer.data_ptr()),
        layout.images_up.stop,
        room=layout.room.stop,
    )
    with ring.reading(slot) as buffer:
        return kernels.launch(buffer, layout)


def one_round(number, memory, covered, kernel_sizes=(3, 3, 5), **options):
    """Run a batch: size, dtype, layout and kind of images in turns, the rest at random."""
    rng = np.random.default_rng([number, 5])
    size = SIZES[number % len(SIZES)]
    dtype = list(DTYPES)[number % 3]
    layout = ("HWC", "CHW")[number // 2 % 2]
    kind = (in_place, as_bmps)[number % 2]
    block = 1 << (size**2 // 2).bit_length()  # a second one that is not full
    params, augmented, shapes = random_batch(rng, size, kernel_sizes)
    kernels = InterpretedKernels(
        size, memory, block=block, layout=layout, dtype=dtype,
        normalize=bool(rng.integers(2)), **options,
    )  # fmt: skip
    run(kernels, kind(rng, shapes), params)
    covered[f"{kind.__name__} {dtype} {layout}"] += 1
    for on, shape in zip(augmented.tolist(), shapes, strict=True):
        resized = "resized" if shape != (size, size) else "of the output's size"
        covered[f"{'augmented' if on else 'identity'} {resized}"] += 1


def check(rounds, **options):
    """Run batches by their numbers; return what was found."""
    memory, covered = Memory(), Counter()
    for number in rounds:
        one_round(number, memory, covered, **options)
    return {
        "problems": memory.problems,
        "covered": covered,
        "loads": memory.loads,
        "stores": memory.stores,
    }


def mutant(folder, name):
    """Import a copy of the kernels with a fault in it."""
    module, text, replacement, _ = MUTANTS[name]
    package = f"mutant{list(MUTANTS).index(name)}"
    place = folder / package
    place.mkdir()
    for file in Path(compiled.__file__).parent.glob("gpu*.py"):
        source = file.read_text()
        if file.stem == module:
            assert source.count(text) == 1, f"{name}: {text!r} is not in {file.name} once"
            source = source.replace(text, replacement)
        (place / file.name).write_text(source.replace(f"{compiled.__name__}.gpu", f"{package}.gpu"))
    return importlib.import_module(f"{package}.gpu")


def check_mutants(names):
    """Return what the first of two small batches to find anything finds in each mutant."""
    with tempfile.TemporaryDirectory() as folder:
        sys.path.insert(0, folder)
        found = {}
        for name in names:
            kernels = mutant(Path(folder), name)
            for number in (0, 1):
                found[name] = check([number], kernels=kernels)["problems"]
                if found[name]:
                    break
        return found


if __name__ == "__main__":
    if sys.argv[1] == "mutants":
        found = check_mutants(sys.argv[2:])
    else:
        found = check(range(int(sys.argv[1])), kernel_sizes=(3, 3, 5, 7)[: int(sys.argv[2])])
    print(json.dumps(found))
