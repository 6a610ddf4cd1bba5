"""Compare runs: which settings differ, their curves, their test figures, and chance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastleuk.errors import ConfigError, DataError
from fastleuk.tracking.paired import LEVEL, RESAMPLES, Interval, McNemar, macro_f1_interval, mcnemar
from fastleuk.tracking.tested import RunRecord, Tested, read_records

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
FIGURES = {
    "f1_macro": "macro-F1",
    "auc": "AUC",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "f1_weighted": "weighted F1",
    "f1_positive": "F1 of the positive class",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "ece_15": "calibration error",
    "loss": "cross-entropy",
}
FEW_SUBJECTS = 5
_PLACES = ("run.out",)


@dataclass(frozen=True, slots=True)
class Paired:
    """A run against the reference, on the same test samples."""

    letter: str
    test: McNemar
    difference: Interval


def compare_runs(
    run_dirs: Sequence[Path], *, out: Path, seed: int = 0, report: Callable[[str], None] = print
) -> None:
    """Print how runs differ and draw their curves together.

    Args:
        run_dirs: Run folders, the reference first.
        out: The PNG to write.
        seed: Of the bootstrap.
        report: Takes what is printed.

    Raises:
        ConfigError: fewer than two runs or too many, one of them twice, or not a ``.png``.
        CheckpointError: not a run folder, or a damaged file in one.
        DataError: the picture can't be written.
    """
    from fastleuk.tracking.curves import plot_comparison

    if out.suffix.lower() != ".png":
        raise ConfigError(f"--out {out}: the picture is a PNG, so give a name that ends in .png.")
    if len(run_dirs) > len(LETTERS):
        raise ConfigError(f"compare takes {len(LETTERS)} runs at most, found {len(run_dirs)}.")
    records = read_records(run_dirs)
    for letter, record in zip(LETTERS, records, strict=False):
        report(f"{letter}  {record.name}{_what(record)}")
    report(f"\nSettings that differ\n{_table(differing_settings(records), records)}")
    intervals = [_interval(record, seed) for record in records]
    report(f"\nTest figures\n{_table(_figure_rows(records, intervals), records)}")
    if any(each is not None and each.low == each.high for each in intervals):
        report("  An interval without width says nothing: all resamples of its subjects are alike.")
    comparable = same_tests(records)
    warnings = warnings_of(records)
    if warnings:
        report("\n" + "\n".join(f"warning: {warning}" for warning in warnings))
    if comparable:
        _report_paired(pair_with_first(records, seed=seed), records, report)
    try:
        plot_comparison(records, intervals, out, comparable=comparable)
    except OSError as error:
        raise DataError(f"Can't write --out {out}: {error.strerror or error}.") from error
    report(f"\nPicture: {out}")


def _what(record: RunRecord) -> str:
    figures = record.figures or {}
    return "  SYNTHETIC demo cells" if figures.get("synthetic") else ""


def differing_settings(records: Sequence[RunRecord]) -> dict[str, list[str]]:
    """Return the keys of config.toml and policy.toml whose values differ, with each run's value."""
    keys = dict.fromkeys(key for record in records for key in record.settings)
    found = {}
    for key in keys:
        values = [record.settings.get(key, _ABSENT) for record in records]
        if key not in _PLACES and any(value != values[0] for value in values):
            found[key] = [_value(value) for value in values]
    return found


_ABSENT = object()


def _value(value: Any) -> str:
    if value is _ABSENT:
        return "(not set)"
    return '""' if value == "" else str(value)


def same_tests(records: Sequence[RunRecord]) -> bool:
    """Say whether all runs were tested, and on the same samples with the same classes."""
    tests = [record.tested.samples if record.tested else None for record in records]
    return tests[0] is not None and all(test == tests[0] for test in tests)


def warnings_of(records: Sequence[RunRecord]) -> list[str]:
    """Return why figures of these runs can't be compared, or only with care."""
    first, found = records[0], []
    for letter, record in zip(LETTERS[1:], records[1:], strict=False):
        if not (first.tested and record.tested):
            continue
        ours, theirs = set(first.tested.samples), set(record.tested.samples)
        if ours != theirs:
            shared = len(ours & theirs)
            found.append(
                f"A and {letter} were tested on different samples ({shared} shared, "
                f"{len(ours) - shared} only in A, {len(theirs) - shared} only in {letter}; splits "
                f"{_split(first)} and {_split(record)}): their test figures can't be compared."
            )
    for letter, record in zip(LETTERS, records, strict=False):
        if record.tested is None:
            found.append(f"{letter} has not been tested yet (fastleuk evaluate {record.path}).")
        if not record.rows:
            found.append(f"{letter} has no finished epoch: there is nothing to plot of it.")
    for letter, record in zip(LETTERS[1:], records[1:], strict=False):
        if record.validated != first.validated:
            found.append(
                f"A and {letter} were validated on different samples: differences between their "
                "validation curves may come from that."
            )
    return found


def _split(record: RunRecord) -> str:
    settings = record.settings
    return f"{settings.get('data.split', '?')} (seed {settings.get('run.seed', '?')})"


def _interval(record: RunRecord, seed: int) -> Interval | None:
    if record.tested is None or record.figures is None:
        return None
    return macro_f1_interval(record.tested.confusions(record.figures["class_names"]), seed=seed)


def pair_with_first(
    records: Sequence[RunRecord], *, resamples: int = RESAMPLES, seed: int = 0
) -> list[Paired]:
    """Compare every other run with the first; all were tested on the same samples.

    Args:
        records: Runs for which :func:`same_tests` holds.
        resamples: Number of bootstrap samples of the subjects.
        seed: Of the bootstrap.
    """
    first = records[0].tested
    names = sorted({name for record in records for name in _classes(record)})
    if first is None:
        return []
    found = []
    for letter, record in zip(LETTERS[1:], records[1:], strict=False):
        if record.tested is None:
            continue
        other = Tested(record.tested.samples, record.tested.predicted, first.groups)
        difference = macro_f1_interval(
            other.confusions(names), first.confusions(names), resamples=resamples, seed=seed
        )
        found.append(Paired(letter, mcnemar(first.right, other.right), difference))
    return found


def _classes(record: RunRecord) -> set[str]:
    tested = record.tested
    return set() if tested is None else {label for _, label in tested.samples} | {*tested.predicted}


def _report_paired(
    paired: Sequence[Paired], records: Sequence[RunRecord], report: Callable[[str], None]
) -> None:
    tested = records[0].tested
    if tested is None:
        return
    members: dict[str, set[str]] = {}
    for (_, label), group in zip(tested.samples, tested.groups, strict=True):
        members.setdefault(label, set()).add(group)
    subjects = len(set(tested.groups))
    report(
        f"\nPaired with A, on the same {len(tested.samples)} images of {subjects} subjects "
        f"({LEVEL:.0%} intervals: subjects resampled {RESAMPLES:,} times, class by class)"
    )
    for pair in paired:
        gain, test = pair.difference, pair.test
        report(
            f"  {pair.letter} − A  macro-F1 {gain.value:+.4f} ({gain.low:+.4f} to {gain.high:+.4f})"
            f"\n         right only in A: {test.only_first}, only in {pair.letter}: "
            f"{test.only_second}; McNemar's exact test p = {test.p_value:.3g}"
        )
    if subjects < len(tested.samples):
        report("  McNemar's test takes images as independent; those of one subject are not.")
    fewest = min(len(groups) for groups in members.values())
    if fewest < FEW_SUBJECTS:
        report(f"  A class has {fewest} test subjects only: intervals over so few are too narrow.")


def _figure_rows(
    records: Sequence[RunRecord], intervals: Sequence[Interval | None]
) -> dict[str, list[str]]:
    rows = {}
    for key, title in FIGURES.items():
        values = [(record.figures or {}).get(key) for record in records]
        if any(value is not None for value in values):
            rows[title] = ["–" if value is None else f"{value:.4f}" for value in values]
        if key == "f1_macro":
            rows[f"  {LEVEL:.0%} interval"] = [
                "–" if each is None else f"{each.low:.3f}–{each.high:.3f}" for each in intervals
            ]
    for key in ("samples", "subjects"):
        rows[key] = [str((record.figures or {}).get(key, "–")) for record in records]
    rows["split"] = [str(record.settings.get("data.split", "–")) for record in records]
    return rows


def _table(rows: dict[str, list[str]], records: Sequence[RunRecord]) -> str:
    """Lay rows out under the runs' letters; long values are cut in the middle."""
    if not rows:
        return "  (none)"
    cells = [["", *LETTERS[: len(records)]]]
    cells += [[title, *(_cut(value) for value in values)] for title, values in rows.items()]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  " + "  ".join(f"{c:<{w}}" for c, w in zip(row, widths, strict=True)).rstrip()
        for row in cells
    )


def _cut(text: str, width: int = 32) -> str:
    text = text.replace("\n", " ")
    half = (width - 1) // 2
    return text if len(text) <= width else f"{text[:half]}…{text[-half:]}"
