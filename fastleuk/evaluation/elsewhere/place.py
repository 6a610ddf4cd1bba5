"""Where the figures of other data go: a folder for each set, in the run folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import count
from pathlib import Path

from fastleuk.csv_files import is_table, table_stem
from fastleuk.data.shards.read import SUFFIX
from fastleuk.errors import ConfigError
from fastleuk.run_folder.names import CONFIG, MARKS
from fastleuk.run_folder.place import writing_place
from fastleuk.run_folder.start import plain_name

PREFIX = "on-"
METRICS = "metrics.json"
_LONGEST = 60


def set_name(on: str) -> str:
    """Return a short name of a data set, fit for a folder.

    >>> set_name("/data/Centre B/"), set_name("b/cells.csv"), set_name("b/shards/*.tar")
    ('Centre-B', 'cells', 'shards')
    """
    place = Path(on).expanduser()
    if place.suffix == SUFFIX and not place.is_dir():
        inside = "*" in place.name or "{" in place.name
        name = place.absolute().parent.name if inside else place.stem
    elif is_table(place):
        name = table_stem(place.name)
    else:
        name = place.resolve().name
    return plain_name(name).strip("-.")[:_LONGEST] or "data"


def results_place(
    run_dir: Path, name: str, content: str, out: Path | None, report: Callable[[str], None]
) -> Path:
    """Return the folder for a data set's figures; made if it isn't there.

    ``RUN/on-<name>``, or ``-2`` and so on behind it where that holds another set's.

    Args:
        run_dir: The run folder.
        name: Of :func:`set_name`.
        content: Hash of the data set.
        out: The folder that was asked for.
        report: Is told of another name.

    Raises:
        ConfigError: ``out`` is a run folder, or holds another set's figures.
        DataError: it can't be written.
    """
    if out is not None:
        run = [mark for mark in sorted(MARKS) if (out / mark).is_file()]
        if CONFIG in run or len(run) > 1:
            raise ConfigError(f"--out {out} is a run folder, with figures of its own. Choose "
                              "another.")  # fmt: skip
        if _contents(out) - {content}:
            raise ConfigError(
                f"--out {out} holds the figures of other data. Choose another folder."
            )
        return writing_place(run_dir, out)
    writing_place(run_dir, None)
    first = run_dir / f"{PREFIX}{name}"
    for number in count(1):
        place = first if number == 1 else first.with_name(f"{first.name}-{number}")
        if _contents(place) <= {content}:
            break
    if place != first:
        report(f"note: {first} holds the figures of other data; these go to {place}")
    return writing_place(run_dir, place)


def _contents(place: Path) -> set[str]:
    """Return the hashes of the data sets whose figures a folder holds; of damaged ones none."""
    found = set()
    for file in place.glob("metrics*.json"):
        try:
            found.add(str(json.loads(file.read_text(encoding="utf-8"))["on"]["content"]))
        except (OSError, ValueError, KeyError, TypeError):
            found.add("")
    return found
