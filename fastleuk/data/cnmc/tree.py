"""C-NMC 2019 on disk: from any of its folder layouts to rows of a manifest."""

import re
import struct
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fastleuk.csv_files import is_table_name
from fastleuk.data.cnmc.names import CLASS_NAMES, LabelRow, parse_name, read_labels
from fastleuk.data.left_out import Ignored
from fastleuk.data.manifest import Manifest, is_synthetic, natural_key
from fastleuk.data.tree import Tree
from fastleuk.errors import DataError, listed

FINAL_SIDE, FINAL_CROP = 600, 450
"""Final-phase images are 600x600; their centred 450x450 has the scale of the training cells."""

_FOLD = re.compile(r"fold[_\- ]?(\d{1,6})")
_OFFICIAL_PHASE = re.compile(r"test_(prelim|final)")
_PHASES = (
    (
        "prelim",
        re.compile(r"test_prelim|^prelim|^validation_data$|^phase[_\- ]?(2|ii)(?![0-9a-z])"),
    ),
    ("final", re.compile(r"test_final|^final|^testing_data$|^phase[_\- ]?(3|iii)(?![0-9a-z])")),
)


@dataclass
class _Rows:
    """Rows under construction, and what didn't become one."""

    paths: list[str] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    subjects: list[str] = field(default_factory=list)
    folds: list[int] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    crops: list[int] = field(default_factory=list)
    ignored: list[Ignored] = field(default_factory=list)
    bad: list[tuple[str, str]] = field(default_factory=list)

    def add(
        self, path: str, label: int, subject: str, source: str, fold: int = -1, crop: int = 0
    ) -> None:
        self.paths.append(path)
        self.labels.append(label)
        self.subjects.append(subject)
        self.sources.append(source)
        self.folds.append(fold)
        self.crops.append(crop)


def source_and_fold(path: str, root_name: str = "") -> tuple[str, int]:
    """Return (source, fold) that the folders of ``path`` name, the deepest first.

    ``root_name`` is the root folder's own name, for a root that is itself a part of the set.
    The source is ``""`` where no folder says anything; the fold is -1 outside the folds.
    """
    for part in reversed(path.lower().split("/")[:-1]):
        fold = _FOLD.fullmatch(part)
        if fold:
            return "train", int(fold[1])
        for source, pattern in _PHASES:
            if pattern.search(part):
                return source, -1
    own = root_name.lower()
    fold = _FOLD.fullmatch(own)
    if fold:
        return "train", int(fold[1])
    phase = _OFFICIAL_PHASE.search(own)
    return (phase[1], -1) if phase else ("", -1)


def names_a_part(path: str, root_name: str) -> bool:
    """Say whether the folders of ``path`` name a source or a fold of C-NMC."""
    return source_and_fold(path, root_name) != ("", -1)


def is_cnmc(tree: Tree) -> bool:
    """Say whether the tree is C-NMC: by UID names, or by a phase folder with its labels CSV."""
    phase = named = other = 0
    for path in tree.images:
        if parse_name(path.rsplit("/", 1)[-1]):
            named += 1
        elif source_and_fold(path, tree.root.name)[0] in ("prelim", "final"):
            phase += 1
        else:
            other += 1
    if named:
        return named >= other
    official = any(_OFFICIAL_PHASE.search(f.lower()) for f in (tree.root.name, *tree.folders))
    return phase > other and (official or bool(_label_tables(tree)))


def has_cnmc_folders(tree: Tree) -> bool:
    """Say whether the tree is C-NMC and has some of its folds or phases."""
    return is_cnmc(tree) and any(names_a_part(path, tree.root.name) for path in tree.images)


def cnmc_manifest(
    tree: Tree,
) -> tuple[Manifest, tuple[Ignored, ...], tuple[tuple[str, str], ...]]:
    """Build the manifest; also what was ignored, and (path, reason) of what can't be used.

    Raises:
        DataError: a labels CSV lacks a column, has senseless rows, or contradicts another.
    """
    rows = _Rows()
    placed: dict[str, list[tuple[str, int]]] = {"": [], "train": [], "prelim": [], "final": []}
    for path in _without_copies(tree, rows):
        source, fold = source_and_fold(path, tree.root.name)
        placed[source].append((path, fold))
    for path, fold in placed["train"] + placed[""]:
        _add_training(rows, path, fold)
    _add_prelim(rows, tree, [path for path, _ in placed["prelim"]])
    for path, _ in placed["final"]:
        crop = FINAL_CROP if bmp_size(tree.root / path) == (FINAL_SIDE, FINAL_SIDE) else 0
        rows.add(path, -1, path, "final", crop=crop)
    return _finish(rows, tree), tuple(rows.ignored), tuple(rows.bad)


def bmp_size(path: Path) -> tuple[int, int]:
    """Return (width, height) in pixels from a BMP's header alone; (0, 0) if it isn't one."""
    try:
        with open(path, "rb") as stream:
            head = stream.read(26)
    except OSError:
        return 0, 0
    if len(head) < 26 or head[:2] != b"BM":
        return 0, 0
    width, height = struct.unpack("<ii", head[18:26])
    return width, abs(height)


def _without_copies(tree: Tree, rows: _Rows) -> list[str]:
    """Drop images present twice by name in one part (a folder nested in itself): keep the outer."""
    kept: dict[tuple[str, int, str], str] = {}
    for path in sorted(tree.images, key=lambda p: (p.count("/"), natural_key(p))):
        key = (*source_and_fold(path, tree.root.name), path.rsplit("/", 1)[-1].lower())
        if key[0] and key in kept:
            reason = f"the same {key[0]} image name as that of another image"
            rows.ignored.append(Ignored(path, reason, f"({kept[key]})"))
        else:
            kept.setdefault(key if key[0] else (*key[:2], path), path)
    return list(kept.values())


def _add_training(rows: _Rows, path: str, fold: int) -> None:
    *folders, name = path.split("/")
    cell = parse_name(name)
    said = next((f.lower() for f in reversed(folders) if f.lower() in ("all", "hem")), None)
    if cell is None:
        if fold < 0 and said is None:
            rows.ignored.append(Ignored(path, "neither a C-NMC name nor in a C-NMC folder"))
        else:
            wanted = "UID_<subject>_<image>_<cell>_<all|hem>.bmp"
            reason = f"the name is not {wanted}, so the subject is unknown"
            rows.ignored.append(Ignored(path, reason, lost_by=said or ""))
    elif said is not None and said != CLASS_NAMES[cell.label].lower():
        reason = f"the name contradicts the folder {said!r} (--layout folders believes the folders)"
        rows.bad.append((path, reason))
    else:
        rows.add(path, cell.label, cell.subject, "train", fold)


def _label_tables(tree: Tree) -> dict[str, tuple[LabelRow, ...]]:
    """Read the labels CSVs in the tree, or beside a root that is the preliminary folder itself."""
    files = [tree.root / name for name in tree.tables]
    if source_and_fold("x", tree.root.name)[0] == "prelim":
        files += sorted(p for p in tree.root.parent.iterdir() if is_table_name(p.name))
    read = {str(file): read_labels(file) for file in files}
    return {file: labels for file, labels in read.items() if labels is not None}


def _merged_labels(tables: dict[str, tuple[LabelRow, ...]]) -> dict[str, LabelRow]:
    """Return the rows by ``new_names`` in lower case; equal rows of two copies count once."""
    merged: dict[str, LabelRow] = {}
    clashes = []
    for file, rows in tables.items():
        for row in rows:
            first = merged.setdefault(row.renamed.lower(), row)
            if (first.original, first.label) != (row.original, row.label):
                clashes.append(f"{row.renamed} is {row.original} in {file} line {row.line}, but "
                               f"{first.original} in {first.table} line {first.line}")  # fmt: skip
    if clashes:
        raise DataError(
            "rows of the labels CSV contradict one another. Keep one of each pair:\n"
            f"{listed(clashes)}"
        )
    return merged


def _add_prelim(rows: _Rows, tree: Tree, images: list[str]) -> None:
    tables = _label_tables(tree)
    labels = _merged_labels(tables)
    names = {Path(file).name for file in tables}
    _ignore_other_tables(rows, tree, tables, used=bool(images))
    if not images:
        return
    originals = {row.original.lower(): row for row in labels.values()}
    unlabelled, used = 0, set()
    for path in images:
        name = path.rsplit("/", 1)[-1]
        row = labels.get(name.lower()) or originals.get(name.lower())
        cell = parse_name(name)
        if row is not None:
            used.add(row.renamed.lower())
            rows.add(path, row.label, row.subject, "prelim")
        elif cell is not None:
            rows.add(path, cell.label, cell.subject, "prelim")
        elif labels:
            rows.bad.append((path, f"has no row in {', '.join(sorted(names))}"))
        else:
            unlabelled += 1
            rows.add(path, -1, path, "prelim")
    for key, row in labels.items():
        if key not in used:
            where = f"{row.table} line {row.line}"
            rows.bad.append((row.renamed, f"{where} gives it a label, but there is no such image"))
    if unlabelled:
        note = "no CSV with the header Patient_ID,new_names,labels: kept, but unlabelled"
        name = f"{unlabelled} preliminary images"
        rows.ignored.append(Ignored(name, note, count=unlabelled))


def _ignore_other_tables(
    rows: _Rows, tree: Tree, tables: dict[str, tuple[LabelRow, ...]], used: bool
) -> None:
    for name in tree.tables:
        if str(tree.root / name) not in tables:
            rows.ignored.append(Ignored(name, "a CSV that isn't the C-NMC labels"))
        elif not used:
            rows.ignored.append(Ignored(name, "labels, but there is no preliminary image"))


def _finish(rows: _Rows, tree: Tree) -> Manifest:
    order = sorted(range(len(rows.paths)), key=lambda i: natural_key(rows.paths[i]))
    return Manifest(
        root=tree.root,
        paths=tuple(rows.paths[i] for i in order),
        labels=np.array([rows.labels[i] for i in order], dtype=np.int64),
        class_names=CLASS_NAMES,
        subjects=tuple(rows.subjects[i] for i in order),
        folds=np.array([rows.folds[i] for i in order], dtype=np.int64),
        sources=tuple(rows.sources[i] for i in order),
        crops=np.array([rows.crops[i] for i in order], dtype=np.int64),
        layout="cnmc",
        synthetic=tree.synthetic or is_synthetic(tree.root),
    )
