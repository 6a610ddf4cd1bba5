"""``isbi_valid.predict``: what the C-NMC challenge's server takes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from fastleuk.data.labels.positive import positive_class
from fastleuk.errors import ConfigError, DataError, listed
from fastleuk.files import write_text
from fastleuk.predict.table import ERROR, LABEL, NAME, read_rows

ISBI = "isbi_valid.predict"


def isbi_positive(class_names: Sequence[str], given: str) -> str:
    """Return the class that is 1.

    Raises:
        ConfigError: there are more than two classes, or it isn't known which is the positive one.
    """
    if len(class_names) != 2:
        raise ConfigError(
            f"--isbi is for two classes, and the run has {len(class_names)}: "
            f"{', '.join(class_names)}."
        )
    found = positive_class(class_names, given or None)
    if found is None:
        raise ConfigError(
            f"--isbi writes 1 for the positive class, and neither {class_names[0]!r} nor "
            f"{class_names[1]!r} is known to be it: the run was trained without --positive."
        )
    return found


def write_isbi(table: Path, out: Path, positive: str) -> int:
    """Write one 0 or 1 a line, by the number that each image has for a name; return how many.

    Args:
        table: Predictions of images ``1.bmp`` to ``N.bmp``, in any order.
        out: The file.
        positive: The class that is 1.

    Raises:
        DataError: an image has no number for a name, two have the same, one is missing, or one
            could not be read; then nothing is written.
    """
    labels: dict[int, str] = {}
    wrong: list[str] = []
    for row in read_rows(table):
        stem = PurePosixPath(row[NAME]).stem
        if row[ERROR]:
            wrong.append(f"{row[NAME]}: {row[ERROR]}")
        elif not re.fullmatch(r"[0-9]{1,9}", stem):
            wrong.append(f"{row[NAME]}: its name is no number")
        elif int(stem) in labels:
            wrong.append(f"{row[NAME]}: a second image of number {int(stem)}")
        else:
            labels[int(stem)] = row[LABEL]
    if not wrong:
        wrong = [f"{n}: missing" for n in range(1, len(labels) + 1) if n not in labels]
    if wrong:
        raise DataError(
            f"{out.name} needs one prediction for each of the images 1 to N, and was not written; "
            f"{table} is whole:\n{listed(wrong)}"
        )
    lines = [f"{int(labels[number] == positive)}\n" for number in sorted(labels)]
    write_text(out, "".join(lines))
    return len(lines)
