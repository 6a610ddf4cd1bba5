"""Runs against the first one, on the same test samples: differences, tests, and their limits."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from fastleuk.evaluation.intervals.few_subjects import BOOTSTRAP, FEW_SUBJECTS
from fastleuk.evaluation.intervals.metric_table import LOWER, METRICS
from fastleuk.evaluation.intervals.resampling import Plan
from fastleuk.tables import text_table
from fastleuk.tracking.compared import Comparison, compare_classifiers, document, plan_of
from fastleuk.tracking.paired import LEVEL, SWAPS, Interval, SwapTest, macro_f1_interval
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
        comparison: Of its figures with the reference's.
        only_first: Samples that the reference alone has right.
        only_second: Samples that this run alone has right.
    """

    letter: str
    comparison: Comparison
    only_first: int
    only_second: int

    @property
    def test(self) -> SwapTest:
        """Of the two runs' macro-F1."""
        return self.comparison.test

    @property
    def corrected(self) -> float:
        """The test's p-value by Holm's method over all pairs."""
        return self.comparison.corrected

    @property
    def difference(self) -> Interval:
        """In macro-F1, this run's less the reference's."""
        return self.comparison.differences["f1_macro"]


@dataclass(frozen=True, slots=True)
class Pairs:
    """All runs against the first one.

    Attributes:
        pairs: One for each run but the first.
        plan: The resamples that all runs share.
        over: ``subjects`` or ``images``.
        positive: The positive class that all runs have, if they have one.
    """

    pairs: tuple[Paired, ...]
    plan: Plan
    over: str
    positive: str | None


def pair_with_first(
    records: Sequence[RunRecord], *, resamples: int | None = None, seed: int = 0
) -> Pairs | None:
    """Compare every other run with the first; all were tested on the same samples.

    Args:
        records: Runs for which :func:`fastleuk.tracking.compare.same_tests` holds.
        resamples: Number of bootstrap samples of the subjects; by default 2,000, fewer of very
            many images.
        seed: Of the bootstrap and of random swaps.

    Returns:
        None where the runs were not tested.
    """
    first = records[0].tested
    if first is None:
        return None
    names = sorted({name for record in records for name in _classes(record)})
    chosen = {(record.figures or {}).get("positive_class") for record in records}
    positive = chosen.pop() if len(chosen) == 1 else None
    tested = {
        letter: dataclasses.replace(record.tested, groups=first.groups)
        for letter, record in zip(LETTERS, records, strict=False)
        if record.tested is not None
    }
    classifiers = {
        letter: each.classifier(names, positive if positive in names else None)
        for letter, each in tested.items()
    }
    plan = plan_of(list(classifiers.values()), resamples=resamples, seed=seed)
    others = list(tested)[1:]
    compared = compare_classifiers(classifiers, [(LETTERS[0], each) for each in others], plan)
    pairs = [
        Paired(
            letter=letter,
            comparison=comparison,
            only_first=int((first.right & ~tested[letter].right).sum()),
            only_second=int((tested[letter].right & ~first.right).sum()),
        )
        for letter, comparison in zip(others, compared, strict=True)
    ]
    return Pairs(tuple(pairs), plan, "images" if _by_image(first) else "subjects", positive)


def _by_image(tested: Tested) -> bool:
    return len(set(tested.groups)) == len(tested.samples)


def _classes(record: RunRecord) -> set[str]:
    tested = record.tested
    return set() if tested is None else {label for _, label in tested.samples} | {*tested.predicted}


def fewest_subjects(tested: Tested) -> int:
    """Return the number of subjects of the class that has fewest."""
    members: dict[str, set[str]] = {}
    for (_, label), group in zip(tested.samples, tested.groups, strict=True):
        members.setdefault(label, set()).add(group)
    return min(map(len, members.values()))


def format_pairs(found: Pairs, records: Sequence[RunRecord]) -> str:
    """Lay the pairs out, and say what such a comparison can't tell."""
    tested, pairs = records[0].tested, found.pairs
    assert tested is not None, "runs that were not tested"
    subjects, images = len(found.plan.strata), len(tested.samples)
    lines = [
        f"Paired with A, on the same {images} images of {subjects} subjects ({LEVEL:.0%} "
        f"intervals: subjects resampled {found.plan.resamples:,} times, class by class, alike for "
        "every run; tests: the two runs swapped subject by subject)"
    ]
    for pair in pairs:
        gain, test = pair.difference, pair.test
        swaps = f"all swaps of {test.differing} subjects" if test.exact else f"{SWAPS:,} swaps"
        p_value = f"p = {test.p_value:.3g} ({swaps})"
        if len(pairs) > 1:
            p_value += f", {pair.corrected:.3g} by Holm's correction for {len(pairs)} comparisons"
        lines += [
            f"  {pair.letter} − A  macro-F1 {gain.estimate:+.4f} "
            f"({gain.low:+.4f} to {gain.high:+.4f})  {p_value}",
            f"         images right only in A: {pair.only_first}, only in {pair.letter}: "
            f"{pair.only_second}",
        ]
    lines += ["", _all_differences(found), ""]
    return "\n".join([*lines, *(f"  {text}" for text in _limits(pairs, records, tested))])


def _all_differences(found: Pairs) -> str:
    """Return the table of every figure's difference."""
    told = document([pair.comparison for pair in found.pairs], found.plan, over=found.over,
                    positive=found.positive)  # fmt: skip
    rows = [["Differences of every figure", *(f"{pair.letter} − A" for pair in found.pairs)]]
    for name, title in told["titles"].items():
        worse = " (lower is better)" if METRICS[name].better == LOWER else ""
        each = [pair.comparison.differences.get(name) for pair in found.pairs]
        rows.append([f"{title}{worse}", *(_difference(one) for one in each)])
    return text_table(rows, align="l", indent="  ")


def _difference(found: Interval | None) -> str:
    if found is None or not np.isfinite(found.estimate):
        return "–"
    if not np.isfinite([found.low, found.high]).all():
        return f"{found.estimate:+.4f} (unknown)"
    return f"{found.estimate:+.4f} ({found.low:+.4f} to {found.high:+.4f})"


def _limits(paired: Sequence[Paired], records: Sequence[RunRecord], tested: Tested) -> list[str]:
    texts = [
        "Each interval is for itself: of independent figures without a difference, one in twenty "
        "leaves 0 out. Only the test of macro-F1 is corrected for several runs."
    ]
    fewest = fewest_subjects(tested)
    if _by_image(tested):
        texts.append(
            "No subject has two images: where several images are of one unknown subject, intervals "
            "are too narrow and p too small."
        )
    elif fewest < FEW_SUBJECTS:
        texts.append(
            f"A class has {fewest} subjects only, fewer than {FEW_SUBJECTS}: the intervals "
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
    if isinstance(written, list) and len(written) == 2 and None not in written:
        low, high = map(float, written)
        all_ = (record.figures.get("intervals") or {}).get("figures", {})
        method = all_.get("f1_macro", {}).get("method", BOOTSTRAP)
        return Interval(record.figures["f1_macro"], low, high, method=method)
    names: Sequence[str] = record.figures["class_names"]
    return macro_f1_interval(record.tested.counts(names), seed=seed)


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
