"""How far DALI and torchvision may differ when they resize: by what they do at the border."""

import numpy as np


def triangle_weights(count, size, *, repeat):
    """Return ``(size, count)``: the share of each of ``count`` pixels in each of ``size``.

    A triangle as wide as the reduction reaches beyond the border: DALI repeats the outermost pixel
    there (``repeat``), torchvision leaves out what isn't there.
    """
    step = count / size
    reach = max(step, 1.0)
    weights = np.zeros((size, count))
    for row in range(size):
        centre = (row + 0.5) * step
        for place in range(int(np.floor(centre - reach)) - 1, int(np.ceil(centre + reach)) + 1):
            weight = max(0.0, 1 - abs(place + 0.5 - centre) / reach)
            if 0 <= place < count or repeat:
                weights[row, min(max(place, 0), count - 1)] += weight
    return weights / weights.sum(axis=1, keepdims=True)


def border_levels(shape, size):
    """Return by how many levels both may differ for any image of ``shape`` that becomes ``size``.

    The worst image is white where the one gives more weight and black where the other does. Each
    rounds by itself, torchvision after either axis: that is one level more.
    """
    levels = 1.0
    for side in shape[:2]:
        apart = [triangle_weights(side, size, repeat=repeat) for repeat in (True, False)]
        levels += 255 * 0.5 * np.abs(apart[0] - apart[1]).sum(axis=1).max()
    return levels
