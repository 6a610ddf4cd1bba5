"""Checked images through DALI, a batch at a time, as the DALI loader reads files."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import compress

import numpy as np
import torch
from nvidia.dali import Pipeline, fn, types
from nvidia.dali.data_node import DataNode

from fastleuk.augment.appliers.compiled.on_arrays import has_kernel, load_resize
from fastleuk.augment.appliers.exact import resize
from fastleuk.augment.dali.fork import shield_from_fork
from fastleuk.data.images.bmp import read_layout
from fastleuk.errors import FastleukError
from fastleuk.loading.decode.dali import decode_bytes
from fastleuk.loading.images.encoded import Encoded, groups
from fastleuk.memory import keep_freed_memory

CROPPED, WHOLE, RESIZED = "cropped", "whole", "resized"


class DaliImages:
    """Batches of images that are handed over, decoded, resized and normalised by DALI.

    On the CPU plain BMPs are resized without DALI's decoder, to the same pixels: a third of the
    processor time.

    Args:
        size: Side of the result in pixels.
        batch_size: Images that DALI takes at once.
        workers: Its threads.
        mean: Channel means in 0–1 units.
        std: Channel standard deviations in 0–1 units.
        device: Where decoding ends and everything after it runs.
    """

    def __init__(
        self,
        *,
        size: int,
        batch_size: int,
        workers: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        device: torch.device,
    ) -> None:
        if device.type == "cpu":
            keep_freed_memory()
        self._size, self._batch_size, self._workers = size, batch_size, workers
        self._mean, self._std, self._device = mean, std, device
        self._pipelines: dict[str, Pipeline] = {}
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._resize_bmp = None
        if device.type == "cpu" and has_kernel():
            self._resize_bmp = load_resize().resize_bmp
        self._pool: ThreadPoolExecutor | None = None

    def prepare(self, images: Sequence[Encoded]) -> tuple[torch.Tensor, list[str]]:
        """See :class:`fastleuk.loading.images.make.Images`.

        Raises:
            FastleukError: DALI failed, and not at one of the images.
        """
        self._refuse_fork()
        with self._lock:
            made = [self._sorted(images[cut]) for cut in groups(images, self._batch_size)]
        errors = [error for _, reasons in made for error in reasons]
        parts = [pixels for pixels, _ in made if pixels is not None]
        if not parts:
            return torch.empty(0, 3, self._size, self._size, device=self._device), errors
        pixels = parts[0] if len(parts) == 1 else torch.cat(parts)
        return pixels.permute(0, 3, 1, 2), errors

    def close(self) -> None:
        """Free threads and memory; a later call starts them anew."""
        with self._lock:
            self._pipelines.clear()
            if self._pool is not None:
                self._pool.shutdown()
                self._pool = None

    def _sorted(self, images: Sequence[Encoded]) -> tuple[torch.Tensor | None, list[str]]:
        """As :meth:`_group`, each kind of image on its own way."""
        resize_bmp = self._resize_bmp
        plain = np.array([read_layout(image.data.data) is not None for image in images])
        if resize_bmp is None or not plain.any():
            return self._group(images)
        own = self._resized(resize_bmp, list(compress(images, plain)))
        if plain.all():
            return own, [""] * len(images)
        others, reasons = self._group(list(compress(images, ~plain)))
        errors = np.full(len(images), "", dtype=object)
        errors[~plain] = reasons
        if others is None:
            return own, errors.tolist()
        good = errors == ""
        pixels = own.new_empty(int(good.sum()), *own.shape[1:])
        pixels[torch.from_numpy(plain[good])] = own
        pixels[torch.from_numpy(~plain[good])] = others
        return pixels, errors.tolist()

    def _resized(self, resize_bmp: Callable, images: Sequence[Encoded]) -> torch.Tensor:
        """Return NHWC pixels of plain BMPs."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="resize")
        levels = np.empty((len(images), self._size, self._size, 3), np.uint8)
        data, crops = ([getattr(image, name) for image in images] for name in ("data", "crop"))
        list(self._pool.map(resize_bmp, levels, data, crops))
        pipeline = self._pipeline(RESIZED)
        pipeline.feed_input("levels", levels, layout="HWC")
        pipeline.schedule_run()
        (pixels,) = pipeline.outputs()
        return torch.from_dlpack(pixels.as_tensor())

    def _group(self, images: Sequence[Encoded]) -> tuple[torch.Tensor | None, list[str]]:
        """Take images that fit at once; return NHWC pixels, or None of none, and the reasons."""
        try:
            return self._run(images), [""] * len(images)
        except RuntimeError as error:
            if len(images) == 1:
                return None, [f"DALI can't decode it: {_reason(error)}"]
        made, errors = [], []
        for image in images:
            pixels, reasons = self._group([image])
            errors += reasons
            if pixels is not None:
                made.append(pixels)
        return (torch.cat(made) if made else None), errors

    def _run(self, images: Sequence[Encoded]) -> torch.Tensor:
        kind = CROPPED if any(image.crop for image in images) else WHOLE
        pipeline = self._pipeline(kind)
        try:
            pipeline.feed_input("files", [image.data for image in images])
            if kind == CROPPED:
                crops = np.array([image.crop for image in images], np.int64)
                pipeline.feed_input("crops", crops)
            pipeline.schedule_run()
            (pixels,) = pipeline.outputs()
        except RuntimeError:
            del self._pipelines[kind]  # what it does after an error isn't said
            raise
        return torch.from_dlpack(pixels.as_tensor())

    def _refuse_fork(self) -> None:
        if self._pid != os.getpid():
            raise FastleukError(
                "This process was forked from the one in which the run was loaded: load it anew."
            )

    def _pipeline(self, kind: str) -> Pipeline:
        if kind not in self._pipelines:
            self._pipelines[kind] = self._build(kind)
        return self._pipelines[kind]

    def _build(self, kind: str) -> Pipeline:
        device = "gpu" if self._device.type == "cuda" else "cpu"
        pipeline = Pipeline(
            batch_size=self._batch_size,
            num_threads=self._workers,
            device_id=(self._device.index or 0) if device == "gpu" else None,
            prefetch_queue_depth=1,  # a run takes what was fed before it, and no more
        )
        with pipeline:
            images = self._levels(kind, device)
            pixels = fn.crop_mirror_normalize(
                images,
                mean=[255 * value for value in self._mean],
                std=[255 * value for value in self._std],
                output_layout="HWC",
                dtype=types.FLOAT,
            )
            pipeline.set_outputs(pixels)
        pipeline.build()
        return shield_from_fork(pipeline)

    def _levels(self, kind: str, device: str) -> DataNode:
        """Return uint8 images of the output's size."""
        if kind == RESIZED:
            return fn.external_source(name="levels", dtype=types.UINT8, ndim=3, no_copy=True)
        files = fn.external_source(name="files", dtype=types.UINT8, ndim=1, no_copy=True)
        crops: list[DataNode] = []
        if kind == CROPPED:
            crops = [fn.external_source(name="crops", dtype=types.INT64, ndim=0)]
        return resize(decode_bytes(files, *crops, device=device), self._size)


def _reason(error: RuntimeError) -> str:
    """Return the line of DALI's long texts that says what is wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith(("Critical error", "Error in"))]
    return (told or lines or [type(error).__name__])[0]
