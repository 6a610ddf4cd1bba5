"""Decoded caches of the small cells, built by the torchvision backend unless another is named."""

import torch

from fastleuk.config import LoaderConfig
from fastleuk.loading.prepare import build_cache

CPU = torch.device("cpu")
SIZE = 48


def names_in(folder):
    """What lies there but the locks, which stay for those who wait on them."""
    return [path.name for path in folder.iterdir() if path.suffix != ".lock"]


def loader_config(loader="torchvision", cache="auto", workers=2, size=SIZE):
    return LoaderConfig(loader=loader, size=size, workers=workers, cache=str(cache))


def build(dataset, folder, loader="torchvision", size=SIZE):
    return build_cache(dataset, folder, size=size, backend=loader, workers=2)


def reference_decode(dataset, calls=None, stop_after=None, size=SIZE):
    from fastleuk.loading.decode.torchvision import decode_rows

    def decode(rows):
        for piece, decoded in enumerate(decode_rows(dataset, rows, size=size, workers=1)):
            if stop_after is not None and piece >= stop_after:
                raise KeyboardInterrupt
            if calls is not None:
                calls.append(len(decoded[0]))
            yield decoded

    return decode


def flip_bit(file, position):
    with open(file, "r+b") as stream:
        stream.seek(position)
        byte = stream.read(1)
        stream.seek(position)
        stream.write(bytes([byte[0] ^ 1]))
