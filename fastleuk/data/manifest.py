"""The manifest: which images there are, with label, subject, fold and source of each."""

import csv
import io
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from fastleuk.errors import DataError, listed
from fastleuk.files import CsvWriter

MARKER = "fastleuk-demo.json"
"""A file of this name says that the images beside it are synthetic."""

UNLABELLED = "unlabelled"
"""What a manifest CSV says in place of a label that nobody knows."""

REQUIRED_COLUMNS = ("path", "label", "subject")
COLUMNS = (*REQUIRED_COLUMNS, "fold", "source", "crop")


def natural_key(text: str) -> tuple[str | int, ...]:
    """Return a sort key that puts ``2.bmp`` before ``10.bmp``."""
    return tuple(int(p) if i % 2 else p for i, p in enumerate(re.split(r"(\d+)", text)))


def order_classes(labels: set[str], where: str) -> tuple[str, ...]:
    """Return class names in label order: sorted, or ``("hem", "ALL")`` where that is the pair.

    Raises:
        DataError: two names differ only by case, or there are fewer than two.
    """
    if {name.casefold() for name in labels} == {"hem", "all"} and len(labels) == 2:
        return ("hem", "ALL")
    by_folded: dict[str, list[str]] = {}
    for name in sorted(labels):
        by_folded.setdefault(name.casefold(), []).append(name)
    clashes = [" / ".join(names) for names in by_folded.values() if len(names) > 1]
    if clashes:
        raise DataError(
            f"{where}: class names that differ only by case:\n{listed(clashes)}\n"
            "Spell each class in one way."
        )
    if len(labels) < 2:
        found = f"only one class, {next(iter(labels))!r}" if labels else "no class"
        raise DataError(f"{where}: {found}. A classifier needs images of at least two classes.")
    return tuple(sorted(labels))


def is_synthetic(root: Path) -> bool:
    """Say whether ``root`` lies in (or is) a folder marked as synthetic."""
    return any((folder / MARKER).is_file() for folder in (root, *root.parents))


@dataclass(frozen=True, eq=False)
class Manifest:
    """Images under one folder. All arrays and tuples have N entries, one an image.

    Where a subject is unknown, the image is its own: ``subjects[i] == paths[i]``.

    Raises:
        DataError: a path stands twice, is absolute, or climbs out of ``root``.
    """

    root: Path
    """Absolute folder."""
    paths: tuple[str, ...]
    """POSIX paths relative to ``root``, in natural order as discovered."""
    labels: np.ndarray
    """(N,) int64, index into ``class_names``; -1 = unlabelled."""
    class_names: tuple[str, ...]
    """C-NMC: ``("hem", "ALL")``."""
    subjects: tuple[str, ...]
    """Identifiers as found: ``H1`` and ``1`` are different people."""
    folds: np.ndarray
    """(N,) int64; -1 = in no official fold."""
    sources: tuple[str, ...]
    """``train``, ``prelim``, ``final`` for C-NMC; ``folder``; ``csv``."""
    crops: np.ndarray
    """(N,) int64, side in pixels of the centred square to cut before resizing; 0 = all."""
    layout: str
    """``cnmc``, ``folder``, ``csv`` or ``webdataset``."""
    synthetic: bool = False
    """True where a ``fastleuk-demo.json`` marks the folder."""
    hosted: np.ndarray | None = None
    """(N,) bool, see :attr:`fastleuk.data.image.Examined.hosted`; None: nobody has looked."""

    def __post_init__(self) -> None:
        size = len(self.paths)
        for name in ("labels", "folds", "crops"):
            array = getattr(self, name)
            assert array.shape == (size,), f"{name} has shape {array.shape}, not ({size},)"
            assert array.dtype == np.int64, f"{name} has dtype {array.dtype}, not int64"
        assert len(self.subjects) == size, "subjects: one an image"
        assert len(self.sources) == size, "sources: one an image"
        assert all(self.subjects), "a subject is an empty string"
        assert self.root.is_absolute(), f"root is not absolute: {self.root}"
        assert len(set(self.class_names)) == len(self.class_names), self.class_names
        assert self.layout in ("cnmc", "folder", "csv", "webdataset"), self.layout
        if size:
            low, high = int(self.labels.min()), int(self.labels.max())
            assert -1 <= low <= high < len(self.class_names), f"labels in [{low}, {high}]"
            assert self.folds.min() >= -1, "folds below -1"
            assert self.crops.min() >= 0, "crops below 0"
        self._check_paths()

    def _check_paths(self) -> None:
        outside = [p for p in self.paths if p[:1] == "/" or _climbs(p)]
        if outside:
            raise DataError(f"paths outside {self.root}:\n{listed(outside)}")
        if len(set(self.paths)) != len(self.paths):
            seen: set[str] = set()
            twice = [p for p in self.paths if p in seen or seen.add(p)]  # type: ignore[func-returns-value]
            raise DataError(f"paths listed more than once under {self.root}:\n{listed(twice)}")

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def labelled(self) -> np.ndarray:
        """(L,) int64 indices of the images whose label is known."""
        return np.flatnonzero(self.labels >= 0)

    @property
    def subject_is_image(self) -> bool:
        """True where no labelled image has a known subject, so each counts as its own."""
        return all(self.subjects[i] == self.paths[i] for i in self.labelled)

    @property
    def packed(self) -> bool:
        """True where images are members of tar files: ``file`` gives ``x.tar/member``."""
        return self.layout == "webdataset"

    def file(self, index: int) -> Path:
        """Return the absolute path of image ``index``."""
        return self.root / self.paths[index]

    def label_name(self, index: int) -> str:
        """Return the class name of image ``index``, or ``unlabelled``."""
        label = int(self.labels[index])
        return self.class_names[label] if label >= 0 else UNLABELLED

    def take(self, indices: np.ndarray | Sequence[int]) -> "Manifest":
        """Return the manifest of those images alone, in the order given."""
        chosen = np.asarray(indices, dtype=np.int64)
        return Manifest(
            root=self.root,
            paths=tuple(self.paths[i] for i in chosen),
            labels=self.labels[chosen],
            class_names=self.class_names,
            subjects=tuple(self.subjects[i] for i in chosen),
            folds=self.folds[chosen],
            sources=tuple(self.sources[i] for i in chosen),
            crops=self.crops[chosen],
            layout=self.layout,
            synthetic=self.synthetic,
            hosted=None if self.hosted is None else self.hosted[chosen],
        )

    def write_csv(self, path: Path) -> None:
        """Write ``path,label,subject,fold,source,crop``, with paths relative to ``root``.

        Only a CSV that lies in ``root`` can be read back without naming the root.
        """
        with open(path, "w", newline="", encoding="utf-8", errors="surrogateescape") as stream:
            writer = CsvWriter(stream)
            writer.writerow(COLUMNS)
            for i, name in enumerate(self.paths):
                fold = "" if self.folds[i] < 0 else int(self.folds[i])
                row = (name, self.label_name(i), self.subjects[i], fold)
                writer.writerow((*row, self.sources[i], int(self.crops[i])))


def _climbs(path: str) -> bool:
    return ".." in path and ".." in PurePosixPath(path).parts


def read_manifest(csv_path: Path | str, root: Path | str | None = None) -> Manifest:
    """Read a manifest CSV: columns ``path,label,subject`` and, if any, ``fold,source,crop``.

    Paths are relative to the CSV's folder, or to ``root``. ``unlabelled`` stands for an unknown
    label. A subject column that is empty in every row makes each image its own subject.

    Raises:
        DataError: with all offending rows: a missing column, an empty label, a file that is
            missing, listed twice, or outside the root.
    """
    manifest, bad = parse_manifest(csv_path, root)
    if bad:
        raise DataError(f"{csv_path}: rows that can't be used:\n{listed(bad_lines(bad))}")
    return manifest


def bad_lines(bad: Sequence[tuple[str, str]]) -> list[str]:
    """Lay out (path, reason) pairs as ``path: reason``."""
    return [f"{path}: {reason}" for path, reason in bad]


def parse_manifest(
    csv_path: Path | str, root: Path | str | None = None
) -> tuple[Manifest, tuple[tuple[str, str], ...]]:
    """Read a manifest CSV as :func:`read_manifest` does, but hand back (path, reason) of bad rows.

    Raises:
        DataError: the file can't be read, a column is missing, or fewer than two classes are left.
    """
    source = Path(csv_path).expanduser()
    rows = _read_rows(source)
    base = Path(root).expanduser().resolve() if root is not None else source.resolve().parent
    ownerless = not any(row["subject"] for row in rows)
    good: list[dict[str, Any]] = []
    bad: list[tuple[str, str]] = []
    seen: set[str] = set()
    for row in rows:
        problem = _check_row(row, base, ownerless, seen)
        if problem:
            shown = row["path"] or "(no path)"
            bad.append((shown, f"{problem} (line {row['line']} of {source.name})"))
        else:
            good.append(row)
    if not good:
        raise DataError(
            f"{source}: no row can be used:\n{listed(bad_lines(bad))}\n"
            f"Paths are read relative to {base}: move the CSV there, or mend the paths."
        )
    return _assemble(good, base, str(source)), tuple(bad)


def _read_rows(source: Path) -> list[dict[str, Any]]:
    if not source.is_file():
        raise DataError(f"{source}: no such manifest file.")
    try:
        text = source.read_bytes().decode("utf-8-sig", "surrogateescape")  # line ends as they are
        reader = csv.reader(io.StringIO(text), strict=True)
        header = [cell.strip() for cell in next(reader, [])]
        missing = [name for name in REQUIRED_COLUMNS if name not in header]
        if missing:
            raise DataError(
                f"{source}: missing column(s) {', '.join(missing)}; the first line reads "
                f"{','.join(header)!r}. A manifest has the columns path,label,subject and, "
                "if wanted, fold,source,crop."
            )
        rows: list[dict[str, Any]] = []
        for cells in reader:
            if cells:
                padded = [*cells, *[""] * (len(header) - len(cells))]
                row: dict[str, Any] = dict.fromkeys(COLUMNS, "")
                row.update(zip(header, (cell.strip() for cell in padded), strict=False))
                rows.append({**row, "line": reader.line_num})
    except (OSError, csv.Error) as error:
        raise DataError(f"{source}: can't be read as a CSV: {error}") from error
    if not rows:
        raise DataError(f"{source}: has a header but no row.")
    return rows


def _check_row(row: dict[str, Any], base: Path, ownerless: bool, seen: set[str]) -> str | None:
    """Normalise ``row`` in place; return what is wrong with it, or None."""
    if not row["path"]:
        return "empty path"
    if "\0" in row["path"]:
        return "a NUL character in the path"
    if not row["label"]:
        return f"empty label; write {UNLABELLED!r} where it isn't known"
    full = os.path.normpath(base / row["path"])
    if not Path(full).is_relative_to(base):
        return f"outside the root {base}"
    if not Path(os.path.realpath(full)).is_relative_to(base):
        return f"a link that leads outside the root {base}"
    if not os.path.isfile(full):
        return "no such file"
    row["path"] = Path(full).relative_to(base).as_posix()
    if row["path"] in seen:
        return "listed more than once"
    seen.add(row["path"])
    if not row["subject"]:
        if not ownerless and row["label"] != UNLABELLED:
            return "empty subject (fill in every subject, or none)"
        row["subject"] = row["path"]
    for name, default in (("fold", -1), ("crop", 0)):
        value = row[name] or str(default)
        if not re.fullmatch(r"-1|\d{1,9}" if name == "fold" else r"\d{1,9}", value):
            return f"{name} {value!r} is not a whole number"
        row[name] = int(value)
    return None


def _assemble(rows: list[dict[str, Any]], base: Path, where: str) -> Manifest:
    rows = sorted(rows, key=lambda row: natural_key(row["path"]))
    names = order_classes({row["label"] for row in rows} - {UNLABELLED}, where)
    code = {name.casefold(): i for i, name in enumerate(names)} | {UNLABELLED: -1}
    return Manifest(
        root=base,
        paths=tuple(row["path"] for row in rows),
        labels=np.array([code[row["label"].casefold()] for row in rows], dtype=np.int64),
        class_names=names,
        subjects=tuple(row["subject"] for row in rows),
        folds=np.array([row["fold"] for row in rows], dtype=np.int64),
        sources=tuple(row["source"] or "csv" for row in rows),
        crops=np.array([row["crop"] for row in rows], dtype=np.int64),
        layout="csv",
        synthetic=is_synthetic(base),
    )
