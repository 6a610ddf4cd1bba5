"""The GPU's kernels replaced by the CPU's: the same buffer, the same table of addresses."""

import ctypes

import numpy as np
import torch

from fastleuk.augment import AugmentParams
from fastleuk.augment.appliers.compiled import on_arrays
from fastleuk.augment.appliers.row import ROW
from fastleuk.augment.gpu.kernels import Kernels


def cpu_levels(images, params: AugmentParams) -> np.ndarray:
    """What ``compiled`` computes on the CPU, levels ``(N, size, size, 3)``; DALI isn't needed."""
    return on_arrays.levels(list(images), params)


def resized(image: np.ndarray, size: int) -> np.ndarray:
    """Linear with antialiasing, as the decoded cache has it."""
    return on_arrays.load_resize().resize_image(image, size)


def pixels_at(address, stride, height, width, bgr) -> np.ndarray:
    """The image that a row of the table names, as the kernels find it: uint8 RGB."""
    lowest = address + min(0, stride * (height - 1))
    length = abs(stride) * (height - 1) + 3 * width
    memory = np.ctypeslib.as_array((ctypes.c_uint8 * length).from_address(lowest))
    rows = np.lib.stride_tricks.as_strided(
        memory[address - lowest :], (height, width, 3), (stride, 3, 1)
    )
    return np.ascontiguousarray(rows[:, :, ::-1] if bgr else rows)


class HostKernels(Kernels):
    """Runs on a buffer in the host's memory."""

    def _launch(self, buffer, layout):
        raw = buffer.numpy()
        table = raw[layout.table].view(np.int64).reshape(-1, 5)
        sources = raw[layout.sources].view(np.int64).reshape(-1, 5)
        rows = raw[layout.rows].view(np.float32).reshape(layout.images, layout.length)
        moments = raw[layout.moments].view(np.float32)
        room = raw[layout.room].reshape(layout.resized, self.size, self.size, 3)
        for target, source in zip(room, sources.tolist(), strict=True):
            target[:] = resized(pixels_at(*source), self.size)
        images = [pixels_at(*place) for place in table.tolist()]
        edges = rows[:, ROW].astype(int).tolist()
        kernels = [
            np.ascontiguousarray(row[ROW + 1 : ROW + 1 + edge**2].reshape(edge, edge))
            for row, edge in zip(rows, edges, strict=True)
        ]
        places = on_arrays.image_table(images, kernels, self.size)
        shape = (3, self.size, self.size) if self.planar else (self.size, self.size, 3)
        outputs = np.empty((layout.images, *shape), np.float32)
        mean, factor = moments.reshape(2, 3).copy()
        on_arrays.load_kernel().augment_batch(
            outputs, self.planar, places, np.ascontiguousarray(rows[:, :ROW]), mean, factor, 0, 1
        )
        return torch.from_numpy(outputs).to(self.dtype)
