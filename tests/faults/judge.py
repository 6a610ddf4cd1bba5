"""What each decoder makes of a file; run in a process of its own, which a file may crash.

``python -m tests.faults.judge FIRST LAST`` judges the mutants of these seeds and prints a JSON
object for each.
"""

import json
import resource
import sys
import time

import numpy as np

from fastleuk.data.images.bmp import read_layout
from fastleuk.data.images.decode import decode_rgb, encode_bmp, examine
from fastleuk.errors import DataError
from tests.faults.mutate import mutant


class Dali:
    """DALI's decoder as the loader uses it; a new pipeline after each failure."""

    def __init__(self):
        self.pipeline = None

    def __call__(self, data: bytes) -> np.ndarray:
        if self.pipeline is None:
            self.pipeline = self._build()
        self.now = data
        try:
            (images,) = self.pipeline.run()
            return np.array(images[0])
        except RuntimeError:
            self.pipeline = None
            raise

    def _build(self):
        from nvidia.dali import Pipeline, fn

        from fastleuk.loading.decode.dali import decode_bytes

        pipeline = Pipeline(
            batch_size=1, num_threads=1, device_id=None, prefetch_queue_depth=1,
            exec_pipelined=False, exec_async=False,
        )  # fmt: skip
        with pipeline:
            encoded = fn.external_source(
                source=lambda: [np.frombuffer(self.now, np.uint8)], batch=True
            )
            pipeline.set_outputs(decode_bytes(encoded, device="cpu"))
        pipeline.build()
        return pipeline


class Kernels:
    """Our reader of plain BMPs, at 32 x 32 pixels and at the image's own size."""

    def __init__(self):
        from fastleuk.augment.appliers.compiled import cpu_resize

        self._resize = cpu_resize

    def resized(self, data: bytes) -> np.ndarray | None:
        return self._read(data, (32, 32, 3))

    def resized_pixels(self, pixels: np.ndarray) -> np.ndarray:
        return self._resize.resize_image(pixels, 32)

    def copied(self, data: bytes) -> np.ndarray | None:
        layout = read_layout(data)
        if layout is None or layout.length > len(data):
            return None
        return self._read(data, (layout.height, layout.width, 3))

    def _read(self, data: bytes, shape: tuple[int, int, int]) -> np.ndarray | None:
        output = np.zeros(shape, np.uint8)
        try:
            self._resize.resize_bmp(output, np.frombuffer(data, np.uint8))
        except DataError:
            return None
        return output


def judge(data: bytes, dali: Dali, kernels: Kernels | None) -> dict:
    """What is found: ``wrong`` names every disagreement, and is empty if there is none."""
    found = examine(data)
    wrong = []
    try:
        pixels = np.asarray(decode_rgb(data))
        if found.error:
            wrong.append(f"examine says {found.error!r}, PIL decodes it")
    except Exception as error:  # PIL's decoders raise nearly anything
        pixels = None
        if not found.error:
            wrong.append(f"accepted, but PIL raises {type(error).__name__}: {error}")
    if pixels is not None and not found.error:
        if pixels.shape[1::-1] != (found.width, found.height):
            wrong.append(f"{found.width}x{found.height} was told, it is {pixels.shape}")
        fed = encode_bmp(decode_rgb(data)).tobytes() if found.needs_pil else data
        try:
            seen = dali(fed)
        except Exception as error:
            wrong.append(f"accepted, but DALI raises {str(error).splitlines()[0]}")
        else:
            allowed = 1 if data[:3] == b"\xff\xd8\xff" else 0
            if seen.shape != pixels.shape:
                wrong.append(f"DALI gives {seen.shape} for {pixels.shape}")
            elif np.abs(seen.astype(int) - pixels).max() > allowed:
                wrong.append("DALI gives other pixels than PIL")
    if kernels is not None:
        wrong += _by_kernels(data, pixels if not found.error else None, kernels)
    return {"error": found.error, "hosted": found.needs_pil, "wrong": wrong}


def _by_kernels(data: bytes, pixels: np.ndarray | None, kernels: Kernels) -> list[str]:
    layout = read_layout(data)
    whole = layout is not None and layout.length <= len(data)
    read = kernels.resized(data)
    wrong = []
    if (read is not None) != whole:
        wrong.append(f"the kernel {'reads' if read is not None else 'refuses'} it")
    if pixels is None or not whole:
        return wrong  # too small or too large is refused before any kernel sees it
    if read is None or not np.array_equal(read, kernels.resized_pixels(pixels)):
        wrong.append("the kernel resizes other pixels than PIL reads")
    if not np.array_equal(kernels.copied(data), pixels):
        wrong.append("the kernel reads other pixels than PIL")
    return wrong


def main(first: int, last: int) -> None:
    """Judge and print."""
    try:
        kernels = Kernels()
    except ImportError:  # no numba
        kernels = None
    dali = Dali()
    for seed in range(first, last):
        name, data = mutant(seed)
        print(json.dumps({"begun": name}), flush=True)
        before, started = _memory(), time.monotonic()
        result = judge(data, dali, kernels)
        seconds, grown = time.monotonic() - started, _memory() - before
        print(json.dumps({"name": name, "seconds": seconds, "grown": grown, **result}), flush=True)


def _memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
