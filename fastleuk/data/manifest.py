"""The manifest: which images there are, with label, subject, fold and source of each."""

import io
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from fastleuk.csv_files import BOM, CsvWriter
from fastleuk.errors import DataError, listed
from fastleuk.files import write_text

MARKER = "fastleuk-demo.json"
"""A file of this name says that the images beside it are synthetic; the demo set writes it:
``{"synthetic": true, "cells": …, "seed": …, …}``."""

UNLABELLED = "unlabelled"
"""What reports say in place of a label that nobody knows, and manifests did until they had a
``root`` column; with one, an empty cell says it, and this is a class like any other."""

MISSING = frozenset({"nan", "na", "n/a", "#n/a", "<na>", "null"})
"""What programs write into a table where a value is missing, in lower case."""

REQUIRED_COLUMNS = ("path", "label", "subject")
COLUMNS = (*REQUIRED_COLUMNS, "fold", "source", "crop", "root")


def natural_key(text: str) -> tuple[str | int, ...]:
    """Return a sort key that puts ``2.bmp`` before ``10.bmp``."""
    return tuple(int(p) if i % 2 else p for i, p in enumerate(re.split(r"(\d+)", text)))


def number_key(text: str) -> str | None:
    """Return a whole number as it is usually written, or None where ``text`` isn't one.

    >>> number_key("007"), number_key("7.0"), number_key("7,0"), number_key("7a")
    ('7', '7', '7', None)
    """
    number = re.fullmatch(r"0*([0-9]+)(?:[.,]0+)?", text)
    return number[1] if number else None


def order_classes(labels: set[str], where: str, least: int = 2) -> tuple[str, ...]:
    """Return class names in label order: sorted, or ``("hem", "ALL")`` where that is the pair.

    Args:
        labels: Names as found.
        where: The data, for messages.
        least: So many classes must be there.

    Raises:
        DataError: two names differ only by case, blanks, Unicode's forms, leading zeros or a
            ``.0``, or there are fewer than ``least``.
    """
    if {name.casefold() for name in labels} == {"hem", "all"} and len(labels) == 2:
        return ("hem", "ALL")
    by_folded: dict[str, list[str]] = {}
    for name in sorted(labels):
        folded = " ".join(unicodedata.normalize("NFKC", name).casefold().split())
        by_folded.setdefault(number_key(folded) or folded, []).append(name)
    clashes = [" / ".join(names) for names in by_folded.values() if len(names) > 1]
    if clashes:
        raise DataError(
            f"{where}: class names that differ only by case, blanks, Unicode's forms, leading "
            f"zeros or .0. Spell each class in one way:\n{listed(clashes)}"
        )
    if len(labels) < least:
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
    needs_pil: np.ndarray | None = None
    """(N,) bool, see :attr:`fastleuk.data.images.decode.Examined.needs_pil`;
    None: nobody has looked."""

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
            needs_pil=None if self.needs_pil is None else self.needs_pil[chosen],
        )

    def write_csv(self, path: Path, *, excel: bool = False) -> None:
        """Write ``path,label,subject,fold,source,crop,root``; paths are relative to ``root``.

        An unknown label is an empty cell. The root is relative to the CSV's folder where it lies
        in that, so that both can be moved together; else it is absolute.

        Args:
            path: The file.
            excel: Begin with a byte order mark, so that Excel reads UTF-8.

        Raises:
            DataError: the images are members of tar shards, which no CSV can name.
            OSError: the file can't be written.
        """
        if self.packed:
            raise DataError(
                f"{self.root}: images in tar shards have no manifest CSV: the shards hold their "
                "labels. Unpack them to write one."
            )
        here = path.resolve().parent
        inside = self.root.is_relative_to(here)
        root = self.root.relative_to(here).as_posix() if inside else str(self.root)
        text = io.StringIO(newline="")
        writer = CsvWriter(text)
        writer.writerow(COLUMNS)
        for i, name in enumerate(self.paths):
            fold = "" if self.folds[i] < 0 else int(self.folds[i])
            label = self.label_name(i) if self.labels[i] >= 0 else ""
            row = (name, label, self.subjects[i], fold, self.sources[i], int(self.crops[i]))
            writer.writerow((*row, root))
        write_text(path, BOM.decode() * excel + text.getvalue())


def _climbs(path: str) -> bool:
    return ".." in path and ".." in PurePosixPath(path).parts
