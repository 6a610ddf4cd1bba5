"""Seeded damage to image files, as disks, transfers and careless programs do it."""

import numpy as np

from tests.makers.image_files import ACCEPTED, photo

EXTREMES = (0, 1, 7, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
HEADER = 160
KINDS = tuple(ACCEPTED)


def mutant(seed: int) -> tuple[str, bytes]:
    """Return what was done to which kind of file, and the file's bytes.

    The same ``seed`` gives the same file.
    """
    rng = np.random.default_rng([17, seed])
    kind = KINDS[seed % len(KINDS)]
    data = bytearray(ACCEPTED[kind](photo(seed % 5)))
    done = []
    for _ in range(int(rng.integers(1, 4))):
        how = HOW[int(rng.integers(len(HOW)))]
        how(data, rng)
        done.append(how.__name__)
    return f"{seed} {kind}: {', '.join(done)}", bytes(data)


def _place(data: bytearray, rng: np.random.Generator, room: int = 1) -> int:
    """Half of the time in the header, where damage does most."""
    end = min(HEADER, len(data)) if rng.random() < 0.5 else len(data)
    return int(rng.integers(max(1, end - room)))


def flip_a_bit(data, rng):
    if data:
        data[_place(data, rng)] ^= 1 << int(rng.integers(8))


def another_byte(data, rng):
    if data:
        data[_place(data, rng)] = int(rng.integers(256))


def an_extreme_number(data, rng):
    width = int(rng.choice([2, 4]))
    if len(data) > width:
        value = int(rng.choice(EXTREMES)) % (1 << 8 * width)
        order = "little" if rng.random() < 0.5 else "big"
        at = _place(data, rng, width)
        data[at : at + width] = value.to_bytes(width, order)


def cut_off(data, rng):
    del data[int(rng.integers(len(data) + 1)) :]


def a_hole(data, rng):
    at, length = _place(data, rng), int(rng.integers(1, 80))
    del data[at : at + length]


def zeros(data, rng):
    at, length = _place(data, rng), int(rng.integers(1, 200))
    end = min(len(data), at + length)
    data[at:end] = bytes(end - at)


def something_between(data, rng):
    at = _place(data, rng)
    data[at:at] = rng.bytes(int(rng.integers(1, 80)))


def something_behind(data, rng):
    data.extend(rng.bytes(int(rng.integers(1, 400))))


def twice(data, rng):
    at = _place(data, rng)
    data.extend(data[at:])


HOW = (flip_a_bit, another_byte, an_extreme_number, cut_off, a_hole, zeros, something_between,
       something_behind, twice)  # fmt: skip
