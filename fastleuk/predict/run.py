"""``fastleuk predict``: runs over images, into a table."""

from __future__ import annotations

import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from PIL import Image

from fastleuk.errors import CheckpointError, ConfigError, DataError, listed
from fastleuk.predict.ensemble import Ensemble, describe
from fastleuk.predict.inputs import Inputs
from fastleuk.predict.isbi import ISBI, isbi_positive, write_isbi
from fastleuk.predict.parquet import require_parquet, write_parquet
from fastleuk.predict.stream import score_items
from fastleuk.predict.table import ERROR, Table, read_rows
from fastleuk.predict.told import Told, read_told, write_told
from fastleuk.run_log import quiet, result, say

Report = Callable[[str], None]
_FEW = 20
"""Failures that are listed."""


@dataclass
class Tally:
    """What came of the images so far.

    Attributes:
        done: Images of this call, readable or not.
        labels: How many have which label.
        unreadable: How many could not be predicted.
        failures: The first of these, with their reasons.
        noted: How many are not used as they stand.
        seconds: That it took, without loading.
    """

    done: int
    labels: Counter[str]
    unreadable: int
    noted: int
    seconds: float
    failures: list[str] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Images a second."""
        return self.done / self.seconds if self.seconds > 0 else 0.0


def predict_files(
    runs: Sequence[Path],
    paths: Sequence[str],
    out: Path,
    *,
    resume: bool = False,
    isbi: bool = False,
    excel: bool = False,
    root: str | None = None,
    device: str | None = None,
    tta: str = "none",
    batch_size: int = 0,
    workers: int = 0,
    report: Report = say,
) -> Tally:
    """Predict images and write a row for each, in order: memory does not grow with their number.

    Args:
        runs: Run folders; of several the mean probability counts.
        paths: Files, folders, patterns, manifest CSVs, tar shards.
        out: ``.csv`` or ``.parquet``. Beside it, ``<out>.json`` says what made it.
        resume: Go on behind the last whole batch of rows that is there.
        isbi: Write ``isbi_valid.predict`` beside ``out``, too.
        excel: Begin the table with a byte order mark, so that Excel reads UTF-8.
        root: Folder that a manifest's paths are relative to.
        device: ``auto``, ``cpu`` or ``cuda[:N]``; each run's own by default.
        tta: Views whose probabilities are averaged: ``none``, ``flips``, ``d4`` or ``8rot``.
        batch_size: Images at once; the first run's by default, 0.
        workers: Threads that read and decode; the first run's by default, 0.
        report: Takes what is printed.

    Returns:
        What came of the images that this call has predicted.

    Raises:
        ConfigError: options that make no sense.
        CheckpointError: a run that can't be used, or a table that other runs began.
        DataError: a path that isn't there, images that are not those of the table to go on with,
            names that ``isbi`` can't put in order, or, after the table was written, that none of
            the images could be predicted.
        MissingDependencyError: ``.parquet`` without pyarrow.
    """
    csv_path = _csv_place(out)
    if isbi and csv_path != out:
        raise ConfigError(f"--isbi needs a .csv table, and --out is {out}.")
    if excel and csv_path != out:
        raise ConfigError(f"--excel needs a .csv table, and --out is {out}.")
    inputs = Inputs(paths, root=root)
    total, left_out = inputs.survey()
    for line in left_out.lines():
        report(line)
    _check_vacant(out, csv_path, resume)
    ensemble = Ensemble(
        runs, device=device, tta=tta, batch_size=batch_size, workers=workers, report=report
    )
    try:
        positive = isbi_positive(ensemble.class_names, ensemble.members[0].positive) if isbi else ""
        for line in describe(ensemble):
            report(line)
        several = len(ensemble.members) > 1
        with Table(csv_path, ensemble.class_names, several=several, excel=excel) as table:
            told = Told(ensemble.identity, [str(run) for run in runs], list(paths))
            start = _start(out, table, told, inputs, ensemble.batch_size, resume, report)
            tally = _fill(table, ensemble, inputs, start, total)
    finally:
        ensemble.close()
    count = start + tally.done
    failed = count and tally.unreadable == tally.done and not (start and _predicted(csv_path))
    if csv_path != out:
        write_parquet(csv_path, out, {"fastleuk": told.as_json(finished=True)})
        csv_path.unlink()
    write_told(out, told, finished=True)
    if failed:
        raise DataError(
            f"{out}: none of {count} images could be predicted; its column error has each reason. "
            f"Check the paths and the files:\n{listed(tally.failures)}".rstrip()
        )
    for line in _summary(tally, out, start, total):
        result(report, line)
    if isbi:
        place = out.parent / ISBI
        count = write_isbi(out, place, positive)
        result(report, f"{place}: {count} lines, 1 is {positive}")
    return tally


def _predicted(table: Path) -> bool:
    """Return True for a table with an image that was predicted."""
    return any(not row[ERROR] for row in read_rows(table))


def _csv_place(out: Path) -> Path:
    """Return where rows are written: a Parquet file is whole only at the end."""
    ending = out.suffix.lower()
    if ending == ".csv":
        return out
    if ending != ".parquet":
        raise ConfigError(f"--out {out}: the table is a .csv or a .parquet.")
    require_parquet()
    return out.with_name(f"{out.name}.partial.csv")


def _check_vacant(out: Path, csv_path: Path, resume: bool) -> None:
    if resume:
        return
    for path in dict.fromkeys((out, csv_path)):
        if path.exists():
            raise DataError(
                f"{path} is there already. --resume goes on behind its last row; --out names "
                "another file."
            )


def _start(
    out: Path,
    table: Table,
    told: Told,
    inputs: Inputs,
    batch_size: int,
    resume: bool,
    report: Report,
) -> int:
    """Bring the table to where it goes on; return the number of rows that are kept."""
    if not resume:
        table.begin()
        write_told(out, told, finished=False)
        return 0
    before = read_told(out)
    if before is not None:
        wrong = told.differences(before)
        if wrong:
            raise CheckpointError(
                f"{out} was begun otherwise: {'; '.join(wrong)}. Give what it was begun with, or "
                "name another file with --out."
            )
    start = table.go_on((item.name for item in inputs), batch_size)
    if start and before is None:
        report(f"note: {out}.json is gone, so nobody knows whether the same runs began {out}.")
    write_told(out, told, finished=False)
    report(f"Going on behind row {start}" if start else "No row is there yet: starting anew")
    return start


def _fill(table: Table, ensemble: Ensemble, inputs: Inputs, start: int, total: int) -> Tally:
    from tqdm import tqdm

    tally = Tally(0, Counter(), 0, 0, 0.0)
    items = islice(iter(inputs), start, None)
    bar = tqdm(desc="predicting", unit=" images", total=total, initial=start, leave=False,
               disable=quiet() or None, file=sys.stderr)  # fmt: skip
    begun = time.perf_counter()
    # Filters are set here, once: catch_warnings isn't safe inside the threads.
    with bar, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        for batch, scored in score_items(ensemble, items):
            table.append([item.name for item in batch], scored)
            names = ensemble.class_names
            tally.labels.update(names[label] for label in scored.labels if label >= 0)
            for item, error in zip(batch, scored.errors, strict=True):
                tally.unreadable += bool(error)
                if error and len(tally.failures) < _FEW:
                    tally.failures.append(f"{item.name or '(no path)'}: {error}")
            tally.noted += sum(bool(note) for note in scored.notes)
            tally.done += len(batch)
            bar.update(len(batch))
    tally.seconds = time.perf_counter() - begun
    return tally


def _summary(tally: Tally, out: Path, start: int, total: int) -> list[str]:
    lines = []
    if tally.unreadable:
        more = tally.unreadable - len(tally.failures)
        rest = f"\n  … and {more} more" if more else ""
        lines.append(
            f"{tally.unreadable} images can't be predicted; the column error has each reason:\n"
            f"{listed(tally.failures)}{rest}"
        )
    if tally.noted:
        lines.append(f"{tally.noted} images are not used as they stand: see the column note")
    if start + tally.done != total:
        lines.append(
            f"{total} images were counted at the start, and {start + tally.done} were there when "
            "they were read: files came or went meanwhile."
        )
    counts = ", ".join(f"{count} {name}" for name, count in sorted(tally.labels.items()))
    speed = f" in {tally.seconds:.1f} s ({tally.rate:.0f} images/s)" if tally.done else ""
    before = f", {start} rows were there" if start else ""
    what = f": {counts}" if counts else ""
    predicted = tally.done - tally.unreadable
    lines.append(f"{predicted} of {total} images predicted{speed}{before}{what}\n{out}")
    return lines
