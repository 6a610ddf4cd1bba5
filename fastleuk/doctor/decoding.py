"""Whether DALI decodes here, on the CPU or ``mixed`` on a GPU; asked by a probe."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
from nvidia.dali import Pipeline, fn
from PIL import Image

from fastleuk.augment.gpu.selftest import test_images
from fastleuk.loading.decode.dali import decode_bytes

FORMATS = {"BMP": 0.0, "PNG": 0.0, "JPEG": 2.0}
"""The largest mean difference from PIL that is allowed, in levels: JPEG's transforms differ."""


def differences(device: str) -> Iterator[dict[str, Any]]:
    """Yield ``format`` and ``found`` (empty: as PIL decodes it) for each format.

    Args:
        device: ``cpu`` or ``cuda:N``.
    """
    pixels = test_images()[2]
    on_gpu = device != "cpu"
    index = int(device.partition(":")[2] or 0) if on_gpu else None
    for name, allowed in FORMATS.items():
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, name)
        data = buffer.getvalue()
        expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), np.float32)
        try:
            found = _decode(data, index)
        except Exception as error:  # a driver, a library or a graph
            text = (str(error).strip().splitlines() or [""])[0]
            yield {"format": name, "found": f"{type(error).__name__}: {text}"}
            continue
        if found.shape != expected.shape:
            yield {"format": name, "found": f"gives {found.shape} for {expected.shape}"}
            continue
        mean = float(np.abs(found - expected).mean())
        wrong = f"{mean:.2f} levels from PIL (at most {allowed:g} allowed)"
        yield {"format": name, "found": wrong if mean > allowed else ""}


def _decode(data: bytes, index: int | None) -> np.ndarray:
    pipeline = Pipeline(batch_size=1, num_threads=1, device_id=index, prefetch_queue_depth=1)
    with pipeline:
        encoded = fn.external_source(
            source=lambda: [np.frombuffer(data, np.uint8)], batch=True, num_outputs=None
        )
        pipeline.set_outputs(decode_bytes(encoded, device="cpu" if index is None else "gpu"))
    pipeline.build()
    (images,) = pipeline.run()
    images = images.as_cpu() if hasattr(images, "as_cpu") else images
    return np.asarray(images[0], np.float32)
