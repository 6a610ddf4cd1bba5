"""The text of ``fastleuk data DIR``: what is there, how it compares, what was left out."""

from collections import Counter

import numpy as np

from fastleuk.data.cnmc.names import compare
from fastleuk.data.copies.identical import IdenticalSet, subject_groups, tied_subjects
from fastleuk.data.copies.near import pair_lines, tie_lines
from fastleuk.data.dataset import DataSet
from fastleuk.data.labels.positive import meanings, no_positive
from fastleuk.data.left_out import Ignored, by_kind, endings
from fastleuk.data.manifest import UNLABELLED, Manifest
from fastleuk.errors import listed, one_line
from fastleuk.tables import text_table

_SHOWN = 5
_LISTED = 1000
_SOURCES = 20


def describe(dataset: DataSet) -> str:
    """Return a plain, aligned text about a loaded data set; counts are of files as found."""
    found = dataset.found
    sections = [
        _head(dataset),
        _by_source(found),
        _by_fold(found),
        _subjects(found),
        _identical(dataset.identical),
        _near(dataset),
        _tied(dataset),
        _crops(found),
        _official(found),
        _notes(dataset),
        _ignored(dataset.ignored),
        _bad(dataset.bad),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _head(dataset: DataSet) -> str:
    found, kept = dataset.found, dataset.manifest
    lines = [f"{found.root} ({found.layout} layout)"]
    if found.synthetic:
        lines.append("SYNTHETIC demo data: these are drawn pictures, not cells of any person.")
    left = len(found) - len(kept)
    lines.append(f"{len(found)} images found, {len(kept)} used" + (
        f", {left} left out (identical copies or bad files)" if left else ""))  # fmt: skip
    codes = ", ".join(f"{name} = {code}" for code, name in enumerate(found.class_names))
    expanded = meanings(found.class_names)
    lines.append(f"labels: {codes}" + (f" ({expanded})" if expanded else ""))
    if dataset.positive is not None:
        lines.append(f"positive class: {dataset.positive}")
    elif len(found.class_names) == 2:
        lines.append(no_positive(found.class_names))
    lines.append(f"content: {dataset.content_hash[:16]}")
    lines += [f"{remark}." for remark in dataset.remarks]
    return "\n".join(lines)


def _columns(manifest: Manifest) -> tuple[str, ...]:
    unlabelled = (UNLABELLED,) if np.any(manifest.labels < 0) else ()
    return (*manifest.class_names, *unlabelled)


def _by_source(manifest: Manifest) -> str:
    columns = _columns(manifest)
    counts: Counter[tuple[str, str]] = Counter(
        (source, manifest.label_name(i)) for i, source in enumerate(manifest.sources)
    )
    rows: list[list[object]] = []
    sources = list(dict.fromkeys(sorted(manifest.sources, key=_source_rank)))
    for source in sources[:_SOURCES]:
        numbers = [counts[source, name] for name in columns]
        rows.append([source, *numbers, sum(numbers)])
    if len(sources) > _SOURCES:
        rest = set(sources[_SOURCES:])
        numbers = [sum(counts[source, name] for source in rest) for name in columns]
        rows.append([f"{len(rest)} others", *numbers, sum(numbers)])
    if len(rows) > 1:
        rows.append(["total", *(sum(c) for c in np.array([r[1:] for r in rows], dtype=int).T)])
    return "Images by source and class\n" + text_table(
        [["source", *columns, "total"], *rows], indent="  "
    )


def _source_rank(source: str) -> tuple[int, str]:
    order = ("train", "prelim", "final")
    return (order.index(source) if source in order else len(order), source)


def _by_fold(manifest: Manifest) -> str:
    folds = sorted({int(f) for f in manifest.folds if f >= 0})
    if not folds:
        return ""
    header = ["fold"]
    for name in manifest.class_names:
        header += [name, "subjects"]
    rows: list[list[object]] = []
    for fold in folds:
        row: list[object] = [fold]
        for code in range(len(manifest.class_names)):
            chosen = np.flatnonzero((manifest.folds == fold) & (manifest.labels == code))
            row += [len(chosen), len({manifest.subjects[i] for i in chosen})]
        rows.append(row)
    return "Images and subjects by official fold\n" + text_table([header, *rows], indent="  ")


def _subjects(manifest: Manifest) -> str:
    if manifest.subject_is_image:
        return (
            "Subjects: none known, so each image counts as its own. A split can't keep people "
            "apart;\ngive --subject-regex (or a manifest) if the names tell them."
        )
    rows: list[list[object]] = []
    sizes = []
    for code, name in enumerate(manifest.class_names):
        chosen = np.flatnonzero(manifest.labels == code)
        people = Counter(manifest.subjects[i] for i in chosen)
        counts = sorted(people.values())
        median = int(np.median(counts)) if counts else 0
        rows.append([name, len(people), min(counts, default=0), median, max(counts, default=0)])
        ranked = sorted(people.items(), key=lambda item: (-item[1], item[0]))
        sizes.append(f"  {name}: {_extremes([f'{s} ({n})' for s, n in ranked])}")
    head = "Subjects by class, with images a subject\n"
    body = text_table([["class", "subjects", "least", "median", "most"], *rows], indent="  ")
    return head + body + "\n" + "\n".join(sizes) + _mixed(manifest)


def _extremes(items: list[str]) -> str:
    if len(items) <= 2 * _SHOWN:
        return ", ".join(items)
    return f"{', '.join(items[:_SHOWN])}, … , {', '.join(items[-_SHOWN:])}"


def _mixed(manifest: Manifest) -> str:
    classes: dict[str, set[int]] = {}
    for i in manifest.labelled:
        classes.setdefault(manifest.subjects[i], set()).add(int(manifest.labels[i]))
    mixed = [subject for subject, found in classes.items() if len(found) > 1]
    if not mixed:
        return ""
    return f"\n  {len(mixed)} subject(s) have images of several classes: {_extremes(mixed)}"


def _identical(identical: tuple[IdenticalSet, ...]) -> str:
    if not identical:
        return "Identical files: none"
    crossing = sum(same.across_folds for same in identical)
    surplus = sum(len(same.surplus) for same in identical)
    lines = [f"Identical files: {len(identical)} sets, {crossing} of them across folds; "
             f"{surplus} surplus copies not used"]  # fmt: skip
    for same in identical:
        flag = "  CONFLICTING LABELS" if same.conflicting else ""
        lines.append(f"  {' = '.join(same.paths)}{flag}")
    return "\n".join(lines)


def _near(dataset: DataSet) -> str:
    """List near-identical pictures of different subjects; count those that only look alike."""
    manifest, near = dataset.manifest, dataset.near
    if not near.same and not near.alike:
        return "Near-identical pictures of different subjects: none"
    head = f"Near-identical pictures of different subjects: {len(near.same) or 'none'}"
    lines = [head, *pair_lines(manifest, near.same, _LISTED)]
    return "\n".join([*lines, *tie_lines(manifest, near, dataset.groups)[bool(near.same) :]])


def _tied(dataset: DataSet) -> str:
    manifest = dataset.found
    ties = [same.indices for same in dataset.identical]
    place = {path: i for i, path in enumerate(manifest.paths)}
    kept = dataset.manifest.paths
    ties += [(place[kept[p.first]], place[kept[p.second]]) for p in dataset.near.same]
    tied = tied_subjects(manifest, subject_groups(manifest, ties))
    if not tied or manifest.subject_is_image:
        return ""
    lines = [f"  {' ~ '.join(names)}" for names in tied]
    return "\n".join(["Subjects that count as one in every split", *lines])


def _crops(manifest: Manifest) -> str:
    cut = Counter(int(side) for side in manifest.crops if side)
    return "\n".join(
        f"Crop: of {number} images only the centred {side}x{side} is used, to keep the scale of "
        "the cells"
        for side, number in sorted(cut.items())
    )


def _official(manifest: Manifest) -> str:
    if manifest.layout != "cnmc" or manifest.synthetic:
        return ""
    compared = compare(manifest)
    rows = [(row.what, row.found, row.official, row.verdict) for row in compared]
    agree = sum(row.found == row.official for row in compared)
    head = f"Against the official C-NMC 2019: {agree} of {len(compared)} figures match"
    return head + "\n" + text_table([["", "found", "official", ""], *rows], indent="  ")


def _notes(dataset: DataSet) -> str:
    if not dataset.notes:
        return ""
    return "\n".join(["Not used as they stand", *(f"  {line}" for line in note_lines(dataset))])


def note_lines(dataset: DataSet) -> list[str]:
    """Return a line for each kind of file that is not used as it stands, with some of the names."""
    by_note: dict[str, list[str]] = {}
    for path, note in dataset.notes:
        by_note.setdefault(note, []).append(path)
    return [f"{len(paths)} image(s): {note}: {_extremes(paths)}" for note, paths in by_note.items()]


def _ignored(ignored: tuple[Ignored, ...]) -> str:
    if not ignored:
        return "Ignored: nothing"
    lines = [f"Ignored: {sum(item.count for item in ignored)}"]
    for reason, items in by_kind(ignored).items():
        count = sum(item.count for item in items)
        named = [f"{item.path}{f' {item.detail}' if item.detail else ''}" for item in items]
        if len(named) <= 2 * _SHOWN:
            lines.append(f"  {count} {reason}: {', '.join(named)}")
        else:
            lines.append(f"  {count} {reason}{endings(reason, items)}:")
            lines.append(listed([f"  {name}" for name in named], _LISTED))
    return "\n".join(lines)


def _bad(bad: tuple[tuple[str, str], ...]) -> str:
    if not bad:
        return "Bad files: none"
    lines = [f"Bad files, left out: {len(bad)}"]
    return "\n".join([*lines, *(one_line(f"  {path}: {reason}") for path, reason in bad)])
