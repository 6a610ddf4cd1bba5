"""Compare runs: which settings differ, their curves, their test figures, and chance."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fastleuk.errors import ConfigError, DataError
from fastleuk.evaluation.decision import file_hash
from fastleuk.evaluation.intervals.few_subjects import EXACT
from fastleuk.files import write_json
from fastleuk.run_folder.names import BEST
from fastleuk.run_folder.state import not_ended
from fastleuk.shell import quoted
from fastleuk.tables import text_table
from fastleuk.tracking.compared import document
from fastleuk.tracking.paired import LEVEL, Interval
from fastleuk.tracking.pairs import (
    LETTERS,
    Paired,
    Pairs,
    format_pairs,
    interval_of,
    pair_with_first,
    report_few,
)
from fastleuk.tracking.tested import RunRecord, read_records, read_records_on

__all__ = [
    "LETTERS",
    "Paired",
    "compare_runs",
    "differing_settings",
    "pair_with_first",
    "same_tests",
    "warnings_of",
]

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
_PLACES = ("run.out",)
COMMAND = "fastleuk compare"


def compare_runs(
    run_dirs: Sequence[Path],
    *,
    out: Path,
    on: str | None = None,
    seed: int = 0,
    report: Callable[[str], None] = print,
) -> None:
    """Print how runs differ, draw their curves together and write what was compared.

    Beside the PNG, ``compare.png``, stands ``compare.json``: the differences of every figure with
    their intervals, and the p-values as they are and by Holm's method.

    Args:
        run_dirs: Run folders, the reference first.
        out: The PNG to write; the JSON has its name.
        on: Name of other data that every run was evaluated on: their predictions are compared in
            place of the test parts'. By default the test parts'.
        seed: Of the bootstrap and of random swaps.
        report: Takes what is printed.

    Raises:
        ConfigError: fewer than two runs or too many, one of them twice, not a ``.png``, another
            program's file where the JSON goes, or runs that were not evaluated on the same images
            of ``on``.
        CheckpointError: not a run folder, or a damaged file in one.
        DataError: the picture can't be written.
    """
    from fastleuk.tracking.curves import plot_comparison

    if out.suffix.lower() != ".png":
        raise ConfigError(f"--out {out}: the picture is a PNG, so give a name that ends in .png.")
    if len(run_dirs) > len(LETTERS):
        raise ConfigError(f"compare takes {len(LETTERS)} runs at most, found {len(run_dirs)}.")
    numbers = out.with_suffix(".json")
    _check_ours(numbers)
    records = read_records(run_dirs) if on is None else read_records_on(run_dirs, on)
    for letter, record in zip(LETTERS, records, strict=False):
        report(f"{letter}  {record.name}{_what(record)}")
    report(f"\nSettings that differ\n{_table(differing_settings(records), records)}")
    intervals = [interval_of(record, seed) for record in records]
    title = "Test figures" if on is None else f"Figures on {name_of_data(records[0])}"
    report(f"\n{title}\n{_table(_figure_rows(records, intervals), records)}")
    if any(each is not None and each.method == EXACT for each in intervals):
        report("  Where no resample differs the interval is the exact binomial bound.")
    comparable = same_tests(records)
    if not comparable:
        report_few(records, report)
    warnings = warnings_of(records)
    if warnings:
        report("\n" + "\n".join(f"warning: {warning}" for warning in warnings))
    pairs = pair_with_first(records, seed=seed) if comparable else None
    if pairs is not None:
        report("\n" + format_pairs(pairs, records))
    try:
        what = "test" if on is None else f"on {name_of_data(records[0])}:"
        plot_comparison(records, intervals, out, comparable=comparable, what=what)
        write_json(numbers, _document(records, intervals, pairs, warnings))
    except OSError as error:
        raise DataError(f"Can't write --out {out}: {error.strerror or error}.") from error
    report(f"\nPicture: {out}\nNumbers: {numbers}")


def _check_ours(path: Path) -> None:
    """Refuse to replace a JSON that :func:`compare_runs` has not written."""
    if not path.exists():
        return
    try:
        ours = json.loads(path.read_text(encoding="utf-8")).get("command") == COMMAND
    except (OSError, ValueError, AttributeError):
        ours = False
    if not ours:
        raise ConfigError(
            f"There is a {path} that {COMMAND} has not made, so it is left alone. Name another "
            "picture with --out: the numbers go beside it."
        )


def _document(
    records: Sequence[RunRecord],
    intervals: Sequence[Interval | None],
    pairs: Pairs | None,
    warnings: Sequence[str],
) -> dict[str, Any]:
    """Return what the JSON holds."""
    runs = [
        {
            "letter": letter,
            "name": record.name,
            "path": str(record.path),
            "synthetic": bool((record.figures or {}).get("synthetic")),
            "f1_macro": None if found is None else found.as_json(),
        }
        for letter, record, found in zip(LETTERS, records, intervals, strict=False)
    ]
    comparisons = None
    if pairs is not None:
        told = [pair.comparison for pair in pairs.pairs]
        comparisons = document(told, pairs.plan, over=pairs.over, positive=pairs.positive)
    return {
        "command": COMMAND,
        "on": (records[0].figures or {}).get("on"),
        "runs": runs,
        "settings_that_differ": differing_settings(records),
        "warnings": list(warnings),
        "comparisons": comparisons,
    }


def name_of_data(record: RunRecord) -> str:
    """Return the name of the other data that a record's figures are of."""
    return str((record.figures or {})["on"].get("name", "other data"))


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
        note = not_ended(record.path)
        if note:
            found.append(f"{letter}: {note}. Its figures are not yet final.")
        if record.tested is None:
            found.append(
                f"{letter} has not been tested yet (fastleuk evaluate {quoted(record.path)})."
            )
        if not record.rows:
            found.append(f"{letter} has no finished epoch: there is nothing to plot of it.")
    found += _warnings_on(records)
    positive = {_positive(record) for record in records if record.figures}
    if len(positive) > 1:
        told = ", ".join(
            f"{letter} {_positive(record) or 'none'}"
            for letter, record in zip(LETTERS, records, strict=False)
            if record.figures
        )
        found.append(
            f"the positive classes differ ({told}): sensitivity, specificity and F1 of the "
            "positive class can't be compared. fastleuk evaluate RUN --positive CLASS writes them "
            "anew."
        )
    for letter, record in zip(LETTERS[1:], records[1:], strict=False):
        if record.validated != first.validated:
            found.append(
                f"A and {letter} were validated on different samples: differences between their "
                "validation curves may come from that."
            )
    return found


def _warnings_on(records: Sequence[RunRecord]) -> list[str]:
    """Return why figures on other data are not those of the runs as they are."""
    found = []
    for letter, record in zip(LETTERS, records, strict=False):
        figures = record.figures or {}
        if "on" not in figures:
            continue
        found += [f"{letter}: {text}" for text in figures.get("warnings", ())]
        best = record.path / BEST
        weights = figures["on"].get("weights")
        if weights and best.is_file() and file_hash(best) != weights:
            found.append(
                f"{letter}: its figures on {name_of_data(record)} are of other weights than it "
                f"has now. fastleuk evaluate {quoted(record.path)} --on DATA writes them again."
            )
    return found


def _positive(record: RunRecord) -> str | None:
    return (record.figures or {}).get("positive_class")


def _split(record: RunRecord) -> str:
    settings = record.settings
    return f"{settings.get('data.split', '?')} (seed {settings.get('run.seed', '?')})"


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
    if any(_positive(record) for record in records):
        rows["positive class"] = [_positive(record) or "–" for record in records]
    rows["split"] = [str(record.settings.get("data.split", "–")) for record in records]
    return rows


def _table(rows: dict[str, list[str]], records: Sequence[RunRecord]) -> str:
    """Lay rows out under the runs' letters; long values are cut in the middle."""
    if not rows:
        return "  (none)"
    cells = [["", *LETTERS[: len(records)]]]
    cells += [[title, *(_cut(value) for value in values)] for title, values in rows.items()]
    return text_table(cells, align="l", indent="  ")


def _cut(text: str, width: int = 32) -> str:
    text = text.replace("\n", " ")
    half = (width - 1) // 2
    return text if len(text) <= width else f"{text[:half]}…{text[-half:]}"
