"""How a source image is sampled: one rule for ``fused``, ``compiled`` and the raw BMPs.

Images are resampled once, from their own pixels. Where an output pixel covers several of the
source's, a single interpolation would leave some of them out:

- An image one of whose edges has more than ``RESIZE_RATIO`` source pixels for each of the output
  is resized to the output's size before, with antialiasing.
- Otherwise, along an edge with more than ``BOX_RATIO`` of them, pixels are averaged in twos.
- Beyond the image there is black. The image's edge is one pixel of the *output* wide, as it is
  where the image is resized first: a source pixel beyond the edge counts as the last within it,
  and the result is multiplied by the share of the output pixel that lies on the image.
"""

from __future__ import annotations

BOX_RATIO = 1.5
RESIZE_RATIO = 2.5


def is_resized_first(height: int, width: int, size: int) -> bool:
    """Whether an image has so many pixels that it is resized before anything else.

    Args:
        height: Of the source image in pixels.
        width: Likewise.
        size: Edge of the output.
    """
    return max(height, width) > RESIZE_RATIO * size
