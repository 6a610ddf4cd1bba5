"""Runs against the first one, on the same test samples: differences, tests, and their limits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fastleuk.evaluation.intervals.few_subjects import FEW_SUBJECTS
from fastleuk.tracking.paired import (
    LEVEL,
    RESAMPLES,
    SWAPS,
    Interval,
    SwapTest,
    holm,
    macro_f1_interval,
    swap_test,
)
from fastleuk.tracking.tested import RunRecord, Tested

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_ABOUT_METHODS = (
    "This compares the trained models, not their methods: a method's figures differ from seed to "
    "seed, and two seeds of one method can differ just as much. To compare methods, train several "
    "seeds of each (fastleuk cv --seeds 3)."
)


@dataclass(frozen=True, slots=True)
class Paired:
    """A run against the reference, on the same test samples.

    Attributes:
        letter: Of the run.
        test: Of the two runs' macro-F1.
        difference: In macro-F1, this run's less the reference's.
        only_first: Samples that the reference alone has right.
        only_second: Samples that this run alone has right.
        corrected: The test's p-value by Holm's method over all pairs.
    """

    letter: str
    test: SwapTest
    difference: Interval
    only_first: int
    only_second: int
    corrected: float


def pair_with_first(
    records: Sequence[RunRecord], *, resamples: int = RESAMPLES, seed: int = 0
) -> list[Paired]:
    """Compare every other run with the first; all were tested on the same samples.

    Args:
        records: Runs for which :func:`fastleuk.tracking.compare.same_tests` holds.
        resamples: Number of bootstrap samples of the subjects.
        seed: Of the bootstrap and of random swaps.
    """
    first = records[0].tested
    names = sorted({name for record in records for name in _classes(record)})
    if first is None:
        return []
    reference, found = first.counts(names), []
    for letter, record in zip(LETTERS[1:], records[1:], strict=False):
        if record.tested is None:
            continue
        other = Tested(record.tested.samples, record.tested.predicted, first.groups)
        counts = other.counts(names)
        difference = macro_f1_interval(counts, reference, resamples=resamples, seed=seed)
        found.append((letter, swap_test(reference, counts, seed=seed), difference, other.right))
    corrected = holm([test.p_value for _, test, _, _ in found])
    return [
        Paired(
            letter=letter,
            test=test,
            difference=difference,
            only_first=int((first.right & ~right).sum()),
            only_second=int((right & ~first.right).sum()),
            corrected=p_value,
        )
        for (letter, test, difference, right), p_value in zip(found, corrected, strict=True)
    ]


def _classes(record: RunRecord) -> set[str]:
    tested = record.tested
    return set() if tested is None else {label for _, label in tested.samples} | {*tested.predicted}


def fewest_subjects(tested: Tested) -> int:
    """Return the number of subjects of the class that has fewest."""
    members: dict[str, set[str]] = {}
    for (_, label), group in zip(tested.samples, tested.groups, strict=True):
        members.setdefault(label, set()).add(group)
    return min(map(len, members.values()))


def format_pairs(paired: Sequence[Paired], records: Sequence[RunRecord]) -> str:
    """Lay the pairs out, and say what such a comparison can't tell."""
    tested = records[0].tested
    if tested is None or not paired:
        return ""
    subjects, images = len(set(tested.groups)), len(tested.samples)
    lines = [
        f"Paired with A, on the same {images} images of {subjects} subjects ({LEVEL:.0%} "
        f"intervals: subjects resampled {RESAMPLES:,} times, class by class; tests: the two runs "
        "swapped subject by subject)"
    ]
    for pair in paired:
        gain, test = pair.difference, pair.test
        swaps = f"all swaps of {test.differing} subjects" if test.exact else f"{SWAPS:,} swaps"
        p_value = f"p = {test.p_value:.3g} ({swaps})"
        if len(paired) > 1:
            p_value += f", {pair.corrected:.3g} by Holm's correction for {len(paired)} comparisons"
        lines += [
            f"  {pair.letter} − A  macro-F1 {gain.estimate:+.4f} "
            f"({gain.low:+.4f} to {gain.high:+.4f})  {p_value}",
            f"         images right only in A: {pair.only_first}, only in {pair.letter}: "
            f"{pair.only_second}",
        ]
    return "\n".join([*lines, *(f"  {text}" for text in _limits(paired, records, tested))])


def _limits(paired: Sequence[Paired], records: Sequence[RunRecord], tested: Tested) -> list[str]:
    texts = []
    fewest = fewest_subjects(tested)
    if len(set(tested.groups)) == len(tested.samples):
        texts.append(
            "No subject has two images: where several images are of one unknown subject, intervals "
            "are too narrow and p too small."
        )
    elif fewest < FEW_SUBJECTS:
        texts.append(
            f"A class has {fewest} test subjects only, fewer than {FEW_SUBJECTS}: the intervals "
            "are rough; the swap test is right with any number, but sees large differences only."
        )
    blind = [pair for pair in paired if pair.test.smallest > 1 - LEVEL]
    if blind:
        names = ", ".join(pair.letter for pair in blind)
        least = min(pair.test.smallest for pair in blind)
        texts.append(
            f"{names}: so few subjects differ from A that no p below {least:.3g} is possible."
        )
    seeds = [record.settings.get("run.seed") for record in records]
    if len(set(seeds)) > 1:
        told = ", ".join(f"{a} {seed}" for a, seed in zip(LETTERS, seeds, strict=False))
        texts.append(f"The runs' seeds differ ({told}).")
    texts.append(_ABOUT_METHODS)
    return texts


def interval_of(record: RunRecord, seed: int) -> Interval | None:
    """Return a run's test macro-F1 with its interval over subjects; None before the test.

    It is the one that the run's own evaluation wrote, where that wrote one.
    """
    if record.tested is None or record.figures is None:
        return None
    written = (record.figures.get("interval") or {}).get("f1_macro")
    if isinstance(written, list) and len(written) == 2:
        low, high = map(float, written)
        return Interval(record.figures["f1_macro"], low, high)
    names: Sequence[str] = record.figures["class_names"]
    return macro_f1_interval(record.tested.counts(names), seed=seed)


def no_width(intervals: Sequence[Interval | None]) -> bool:
    """Say whether an interval has no width."""
    return any(each is not None and each.high - each.low < 1e-12 for each in intervals)


def report_few(records: Sequence[RunRecord], report: Callable[[str], None]) -> None:
    """Say which runs' own intervals are over few subjects."""
    few = []
    for letter, record in zip(LETTERS, records, strict=False):
        fewest = fewest_subjects(record.tested) if record.tested else FEW_SUBJECTS
        if fewest < FEW_SUBJECTS:
            few.append(f"{letter} {fewest}")
    if few:
        report(
            f"  Intervals over fewer than {FEW_SUBJECTS} subjects of a class are rough ones "
            f"(fewest: {', '.join(few)})."
        )
