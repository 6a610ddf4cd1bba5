"""An epoch as a plan: which image, original or augmented, in which order."""

from dataclasses import dataclass

import numpy as np

from fastleuk.errors import ConfigError

COPY_STRIDE = 1 << 32
"""Draw id = sample + copy * COPY_STRIDE, so the ids of two (sample, copy) never meet."""

_ORDER, _EXTRA, _ORIGINAL = 1, 2, 3


@dataclass(frozen=True, eq=False)
class EpochPlan:
    """One epoch of K samples, in order."""

    indices: np.ndarray
    """(K,) int64, positions in the ``labels`` and ``samples`` that were given."""
    augmented: np.ndarray
    """(K,) bool; False = the original, un-augmented."""
    draws: np.ndarray
    """(K,) int64, id of the augmentation draw, unique for each (sample, copy)."""
    draw_epoch: int
    """The epoch that keys the draws: 0 where they are frozen."""

    def __len__(self) -> int:
        return len(self.indices)


def parse_per_class(text: str | int) -> int | str:
    """Return ``"auto"``, ``"off"``, or a positive number of samples for each class.

    Raises:
        ConfigError: anything else.

    >>> parse_per_class("10000")
    10000
    """
    value = str(text).strip().lower()
    if value in ("auto", "off"):
        return value
    if not (value.isascii() and value.isdigit()) or not 0 < int(value) <= 10**9:
        raise ConfigError(
            f"--per-class {text!r}: give a positive whole number (the paper's is 10000), auto "
            "(as many as the largest class has) or off (every image once)."
        )
    return int(value)


def plan_epoch(
    labels: np.ndarray,
    samples: np.ndarray | None = None,
    *,
    per_class: int | str = "auto",
    originals: float = 0.0,
    seed: int,
    epoch: int,
    frozen: bool = False,
) -> EpochPlan:
    """Plan one training epoch; a pure function of its arguments.

    The paper's scheme: every original stands in it once, un-augmented, and augmented copies fill
    each class up to ``per_class`` samples (DESIGN section 6), spread so that two images of a class
    differ by at most one copy. Classes that already have as many get no copy and lose nothing.

    ``per_class="off"``: every image once; of each class the same share, ``originals``, passes
    un-augmented, chosen anew in each epoch, and the rest is augmented.

    Args:
        labels: (N,) class of each training image, no negatives.
        samples: (N,) id of each image, distinct, in [0, 2**31): keys its draws, so that a
            sample's draws don't depend on which others are there; default ``arange(N)``.
        per_class: samples a class, ``"auto"`` = the largest class, or ``"off"`` = every image
            once.
        originals: share of un-augmented images under ``"off"``, in [0, 1].
        seed: of the order, and of which originals get one copy more.
        epoch: from 0; each has its own order.
        frozen: the same copies in every epoch, with ``draw_epoch`` 0; the order still changes.

    Raises:
        ConfigError: ``per_class`` or ``originals`` makes no sense, or ``seed`` or ``epoch`` is
            negative.
    """
    if not 0 <= originals <= 1:
        raise ConfigError(f"--originals is {originals}, but it is a share, from 0 to 1.")
    labels = np.asarray(labels, dtype=np.int64)
    ids = np.arange(len(labels)) if samples is None else np.asarray(samples, dtype=np.int64)
    _check(labels, ids, seed, epoch)
    draw_epoch = 0 if frozen else epoch
    wanted = parse_per_class(per_class)
    positions = np.arange(len(labels), dtype=np.int64)
    copies = np.zeros(len(labels), dtype=np.int64)
    if wanted != "off":
        counts = np.bincount(labels)
        target = int(counts.max()) if wanted == "auto" else int(wanted)
        extra = _copies(labels, counts, target, _generator(seed, draw_epoch, _EXTRA))
        first = np.repeat(np.cumsum(extra) - extra, extra)
        positions = np.concatenate([positions, np.repeat(positions, extra)])
        copies = np.concatenate([copies, np.arange(extra.sum()) - first + 1])
        augmented = copies > 0
    else:
        augmented = ~_spared(labels, originals, _generator(seed, draw_epoch, _ORIGINAL))
    order = _generator(seed, epoch, _ORDER).permutation(len(positions))
    draws = ids[positions] + copies * COPY_STRIDE
    return EpochPlan(positions[order], augmented[order], draws[order], draw_epoch)


def _check(labels: np.ndarray, ids: np.ndarray, seed: int, epoch: int) -> None:
    if not 0 <= seed < 2**63 or not 0 <= epoch < 2**31:
        raise ConfigError(
            f"seed {seed} and epoch {epoch} must be from 0 to 2**63 - 1 and 2**31 - 1."
        )
    assert labels.ndim == 1, f"labels have shape {labels.shape}, not (N,)"
    assert len(labels), "no training image"
    assert labels.min() >= 0, "an unlabelled image can't be trained on"
    assert ids.shape == labels.shape, f"{ids.shape} samples for {labels.shape} labels"
    assert ids.min() >= 0, "negative sample ids"
    assert ids.max() < 2**31, "sample ids of 2**31 or more"
    in_order = bool((ids[1:] > ids[:-1]).all())  # as they always come; np.unique takes seconds
    assert in_order or len(np.unique(ids)) == len(ids), "a sample id stands twice"


def _generator(seed: int, epoch: int, purpose: int) -> np.random.Generator:
    """Return the stream of (seed, epoch, purpose): counter-based, so none depends on another."""
    key = np.array([seed, epoch << 8 | purpose], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key))


def _copies(
    labels: np.ndarray, counts: np.ndarray, target: int, rng: np.random.Generator
) -> np.ndarray:
    """Return the (N,) int64 number of augmented copies of each original."""
    missing = np.maximum(target - counts, 0)
    size = np.maximum(counts, 1)
    # The lowest ranks get one more.
    rank = _rank(labels, counts, rng)
    copies = missing[labels] // size[labels] + (rank < missing[labels] % size[labels])
    return copies.astype(np.int64)


def _spared(labels: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Return (N,) bool: ``share`` of each class; what is left of one image is settled by lot."""
    counts = np.bincount(labels)
    rank = _rank(labels, counts, rng)
    return rank + rng.random(len(counts))[labels] < share * counts[labels]


def _rank(labels: np.ndarray, counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the (N,) int64 rank of each image within its class, in random order."""
    order = rng.permutation(len(labels))
    # A radix sort, where NumPy has one: on 16 bits.
    narrow = labels.astype(np.uint16) if len(counts) <= 1 << 16 else labels
    order = order[np.argsort(narrow[order], kind="stable")]
    start = np.cumsum(counts) - counts
    rank = np.empty(len(labels), dtype=np.int64)
    rank[order] = np.arange(len(labels)) - start[labels[order]]
    return rank
