"""Which class of the run a class of other data is."""

from __future__ import annotations

import dataclasses
import shlex
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fastleuk.data.dataset import DataSet
from fastleuk.data.labels.positive import positive_class
from fastleuk.errors import ConfigError, DataError, listed


@dataclass(frozen=True, eq=False, slots=True)
class Matched:
    """Other data under the run's class names.

    Attributes:
        dataset: The same images; labels that no class was given for are unknown.
        rows: int64 ``(N,)``, those that count: labels that were left out don't.
        renamed: The class that each name of the data stands for; None: left out.
        notes: What was taken for what, and what was left out.
    """

    dataset: DataSet
    rows: np.ndarray
    renamed: dict[str, str | None]
    notes: tuple[str, ...]


def parse_classes(text: str) -> dict[str, str]:
    """Read ``--classes``: names of the data, each with the run's; an empty one leaves it out.

    >>> parse_classes("Malignant=ALL, Normal=hem,debris=")
    {'Malignant': 'ALL', 'Normal': 'hem', 'debris': ''}

    Raises:
        ConfigError: a part has no ``=``, or a name stands twice.
    """
    found: dict[str, str] = {}
    for part in text.split(",") if text.strip() else ():
        foreign, equals, own = (word.strip() for word in part.rpartition("="))
        if not equals or not foreign:
            raise ConfigError(
                f"--classes {text!r}: {part.strip()!r} is no pair. Write the data's names with the "
                "run's, such as Malignant=ALL,Normal=hem; debris= leaves that class out."
            )
        if foreign in found:
            raise ConfigError(f"--classes {text!r} names {foreign!r} twice.")
        found[foreign] = own
    return found


def match_classes(dataset: DataSet, own: Sequence[str], asked: Mapping[str, str]) -> Matched:
    """As :func:`rename_classes`, for data that are to be scored: rows with a label only.

    Raises:
        ConfigError: see there.
        DataError: likewise; or no labelled image.
    """
    found = rename_classes(dataset, own, asked)
    labels = found.dataset.manifest.labels
    rows = found.rows[labels[found.rows] >= 0]
    if not len(rows):
        raise DataError(
            f"{dataset.manifest.root}: no image of a known class is left to be scored. To have "
            "probabilities of unlabelled images: fastleuk predict."
        )
    notes = (*found.notes, *_lacking(dataset, labels, own))
    return dataclasses.replace(found, rows=rows, notes=notes)


def rename_classes(dataset: DataSet, own: Sequence[str], asked: Mapping[str, str]) -> Matched:
    """Bring other data under a run's class names, those without a label with them.

    A name counts as that class which ``asked`` gives it, else as the class of that name, else as
    the only one that differs from it by case or blanks alone.

    Args:
        dataset: The other data.
        own: The run's classes, in the order of its scores.
        asked: See :func:`parse_classes`.

    Raises:
        ConfigError: ``asked`` names a class that isn't there.
        DataError: a label that the run doesn't know.
    """
    manifest = dataset.manifest
    names = manifest.class_names
    _check(asked, names, own)
    counts = np.bincount(manifest.labels[manifest.labelled], minlength=len(names))
    given = {name: asked[name] if name in asked else _same(name, own) for name in names}
    unknown = [
        f"{name!r} ({count} images)"
        for name, count in zip(names, counts.tolist(), strict=True)
        if given[name] is None and count
    ]
    if unknown:
        lacking = ",".join(f"{name}=CLASS" for name, own_name in given.items() if own_name is None)
        raise DataError(
            f"{manifest.root}: labels that the run does not know, its classes are "
            f"{', '.join(own)}:\n{listed(unknown)}\n"
            f"Say which of its classes each is: --classes {shlex.quote(lacking)}. Nothing behind "
            "the = leaves a class out."
        )
    codes = np.array([own.index(given[name]) if given[name] else -1 for name in names] + [-1])
    labels = codes[manifest.labels]
    rows = np.flatnonzero((labels >= 0) | (manifest.labels < 0))
    relabelled = dataclasses.replace(
        manifest, labels=labels.astype(np.int64), class_names=tuple(own)
    )
    return Matched(
        dataclasses.replace(dataset, manifest=relabelled),
        rows,
        {name: class_ or None for name, class_ in given.items()},
        tuple(_renamed(given, counts)),
    )


def asked_positive(asked: str, renamed: Mapping[str, str | None], own: Sequence[str]) -> str:
    """Return the run's class that ``--positive`` means, by its own name or the data's.

    Raises:
        ConfigError: it is no class of either.
    """
    return positive_class(own, renamed.get(asked) or asked) or ""


def _same(name: str, own: Sequence[str]) -> str | None:
    if name in own:
        return name
    alike = [each for each in own if _folded(each) == _folded(name)]
    return alike[0] if len(alike) == 1 else None


def _folded(name: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def _check(asked: Mapping[str, str], names: Sequence[str], own: Sequence[str]) -> None:
    absent = [name for name in asked if name not in names]
    if absent:
        turned = [name for name in absent if name in own and asked[name] in names]
        hint = f" The data's name comes first: {asked[turned[0]]}={turned[0]}." if turned else ""
        raise ConfigError(
            f"--classes names {', '.join(map(repr, absent))}, but the data's classes are "
            f"{', '.join(names)}.{hint}"
        )
    wrong = [class_ for class_ in asked.values() if class_ and class_ not in own]
    if wrong:
        raise ConfigError(
            f"--classes: {', '.join(map(repr, wrong))} is no class of the run, which knows "
            f"{', '.join(own)}."
        )


def _renamed(given: Mapping[str, str | None], counts: np.ndarray) -> list[str]:
    told = []
    others = [f"{name} as {class_}" for name, class_ in given.items() if class_ not in ("", name)]
    if others:
        told.append(f"classes: {', '.join(others)}")
    return told + [
        f"{count} images of {name} are left out (--classes)"
        for (name, class_), count in zip(given.items(), counts.tolist(), strict=True)
        if class_ == ""
    ]


def _lacking(dataset: DataSet, labels: np.ndarray, own: Sequence[str]) -> list[str]:
    told = []
    unlabelled = int((dataset.manifest.labels < 0).sum())
    if unlabelled:
        told.append(f"{unlabelled} images without a label are not scored")
    missing = [own[code] for code in range(len(own)) if not (labels == code).any()]
    if missing:
        rest = "; the AUC and what else compares classes is undefined" if len(own) == 2 else ""
        told.append(
            f"no image of {', '.join(missing)} is in these data{rest}. Macro averages count such "
            "a class as 0: read the recall of each class instead"
        )
    return told
