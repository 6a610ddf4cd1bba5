"""What the appliers take, checked inside a graph: uint8 RGB images, HWC.

DALI knows an image's type, shape and layout only when a batch comes. A wrong one must not pass:
floats of 0 to 1 would be taken for levels, rows of another length be read beyond their end.
"""

from __future__ import annotations

from nvidia.dali import fn, types
from nvidia.dali.data_node import DataNode


def images_must_be_uint8_RGB_in_HWC_layout(images: DataNode) -> DataNode:
    """Pass uint8 ``(H, W, 3)`` images on; anything else ends the run with an error.

    The error is DALI's, of an operator that is given an impossible shape; it quotes the line that
    the operator comes from, and so the name of this function. Nothing is copied.

    Args:
        images: Of any type and shape.
    """
    # Wider types come to have more channels, and so does everything that isn't HWC of three.
    images = fn.reinterpret(images, dtype=types.UINT8)
    shape = images.shape(dtype=types.INT32)
    wrong = fn.cast(shape[-1] != 3, dtype=types.INT32)
    pick = 3 + 1000 * wrong
    # DALI's message quotes the line below, its comment included.
    checked = fn.slice(shape, start=0, shape=pick, axes=[0])  # images: not uint8 RGB (H, W, 3)
    return fn.reshape(images, shape=checked, layout="HWC")
