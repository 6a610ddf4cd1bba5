"""Subjects: read from names by an expression, and spelled in one way or refused."""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

from fastleuk.data.manifest import MISSING, Manifest, number_key
from fastleuk.errors import ConfigError, DataError, listed

NOT_KNOWN = MISSING | {"none", "unknown", "unk", "?", "-", "--"}
"""What people say of a subject that they don't know, in lower case."""


def subject_pattern(text: str | None) -> re.Pattern[str] | None:
    """Compile ``--subject-regex``.

    Raises:
        ConfigError: no regular expression, or one without a group.
    """
    if text is None:
        return None
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise ConfigError(f"--subject-regex {text!r}: not a regular expression: {error}") from error
    if not pattern.groups:
        raise ConfigError(
            f"--subject-regex {text!r} has no group: put what is the subject into one, e.g. "
            r"'patient(\d+)_' or '(?P<subject>[^/_]+)_'."
        )
    return pattern


def match_subjects(
    paths: Sequence[str], pattern: re.Pattern[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Search for the subject in each path relative to the root, or else in each file's name.

    The paths are tried first; where some don't match, all names are. The subject is the group
    named ``subject``, or the first group that took part.

    Returns:
        The subjects, and what a user should know of how they were found.

    Raises:
        DataError: neither all paths nor all names match; those that don't are listed.
    """
    by_path = [_subject(pattern, path) for path in paths]
    by_name = by_path
    what, found = "path", by_path
    if not all(by_path):
        by_name = [_subject(pattern, path.rsplit("/", 1)[-1]) for path in paths]
        what, found = "file name", by_name
    if not all(found):
        missed = [p for p, *s in zip(paths, by_path, by_name, strict=True) if not any(s)]
        missed = missed or [p for p, subject in zip(paths, by_path, strict=True) if not subject]
        raise DataError(
            f"--subject-regex {pattern.pattern!r} finds no subject in {len(missed)} of "
            f"{len(paths)} images. It is searched in each path as listed here, or, if that fails, "
            f"in each file name. Mend the expression or the names:\n{listed(missed)}"
        )
    subjects = tuple(subject for subject in found if subject)
    example = f"{paths[0]!r} is of {subjects[0]!r}" if paths else ""
    note = (
        f"Subjects by --subject-regex, matched against the {what}: {len(set(subjects))}; {example}"
    )
    return subjects, (note, *_twice(subjects))


def level_subjects(paths: Sequence[str], level: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Take the folder of one level as the subject of each image in it.

    Args:
        paths: Relative to the root.
        level: From 1, the root's own folders.

    Returns:
        The subjects, and a remark on how they were found.

    Raises:
        DataError: images that don't lie so deep; they are listed.
    """
    folders = [path.split("/")[:-1] for path in paths]
    shallow = [path for path, names in zip(paths, folders, strict=True) if len(names) < level]
    if shallow:
        raise DataError(
            f"--subject-level {level}: {len(shallow)} of {len(paths)} images don't lie so deep. "
            f"Move them, or choose another level:\n{listed(shallow)}"
        )
    subjects = tuple(names[level - 1] for names in folders)
    example = f"; {paths[0]!r} is of {subjects[0]!r}" if paths else ""
    note = f"Subjects by the folders of level {level} (--subject-level): {len(set(subjects))}"
    return subjects, (note + example,)


def _twice(subjects: Sequence[str]) -> tuple[str, ...]:
    """Warn where a folder that the group took in parts what may be one person."""
    folders: dict[str, set[str]] = {}
    for subject in set(subjects):
        folder, _, name = subject.rpartition("/")
        folders.setdefault(name, set()).add(folder)
    apart = sorted(name for name, those in folders.items() if len(those) > 1)
    if not apart:
        return ()
    those = " and ".join(sorted(folders[apart[0]])[:2])
    return (
        f"note: --subject-regex takes the folder into the subject: {len(apart)} names, such as "
        f"{apart[0]!r} in {those}, count as different people. Where folders are classes, that is "
        "one person twice: let the group match no slash, such as '([^/_]+)_[^/]*$'",
    )


def _subject(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(text)
    if match is None:
        return ""
    if "subject" in pattern.groupindex:
        return match.group("subject") or ""
    return next((group for group in match.groups() if group), "")


def normal_form(subject: str) -> str:
    r"""Return a subject in Unicode's form NFKC, without invisible characters and outer blanks.

    >>> normal_form(" \N{FULLWIDTH DIGIT ONE}2 ")
    '12'
    """
    text = unicodedata.normalize("NFKC", subject)
    if not text.isascii():
        text = "".join(c for c in text if unicodedata.category(c) != "Cf")
    return " ".join(text.split())


def settle_subjects(manifest: Manifest) -> Manifest:
    """Spell each subject in its normal form, and refuse two that are probably one person.

    Images that are their own subject keep their path as it is.

    Raises:
        DataError: spellings such as ``12`` and ``12.0``, or (C-NMC apart, where they count as one
            in every split) ``p1`` and ``P1``; both are named, with images. Or several images
            of a subject that is a word for "not known".
    """
    pairs = zip(manifest.subjects, manifest.paths, strict=True)
    settled = tuple(
        subject if subject == path else normal_form(subject) or path for subject, path in pairs
    )
    spellings: dict[str, dict[str, str]] = {}
    for subject, path in zip(settled, manifest.paths, strict=True):
        if subject != path:
            key = _key(subject, fold_case=manifest.layout != "cnmc")
            spellings.setdefault(key, {}).setdefault(subject, path)
    doubtful = [
        " and ".join(f"{subject!r} ({path})" for subject, path in sorted(names.items()))
        for names in spellings.values()
        if len(names) > 1
    ]
    if doubtful:
        raise DataError(
            f"{manifest.root}: subjects that may be one person under {len(doubtful)} pair(s) of "
            "spellings. Spell one person in one way, and different people so that more than case, "
            f"leading zeros or .0 sets them apart:\n{listed(doubtful)}"
        )
    _refuse_not_known(manifest, settled)
    if settled == manifest.subjects:
        return manifest
    return dataclasses.replace(manifest, subjects=settled)


def _refuse_not_known(manifest: Manifest, subjects: Sequence[str]) -> None:
    """Refuse images that would count as one person since nobody knows whose they are."""
    nobodys = Counter(subject for subject in subjects if subject.casefold() in NOT_KNOWN)
    lines = [
        f"{subject!r}: {count} images, such as {manifest.paths[subjects.index(subject)]}"
        for subject, count in sorted(nobodys.items())
        if count > 1
    ]
    if lines:
        raise DataError(
            f"{manifest.root}: subjects that say only that the subject isn't known. All their "
            "images would count as one person's. Give each image its subject, leave out these "
            "images, or, if this is somebody's name, write it in another way:\n"
            f"{listed(lines)}"
        )


def _key(subject: str, *, fold_case: bool) -> str:
    return number_key(subject) or (subject.casefold() if fold_case else subject)
