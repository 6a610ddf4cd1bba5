"""The label of a sample in a shard: as fastleuk, timm, img2dataset or plain WebDataset write it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from fastleuk.data.manifest import UNLABELLED
from fastleuk.errors import DataError, listed

_HIGHEST = {"fold": 10**9, "crop": 10**5}
_KNOWN = "label_is_known"
"""Key of a sample whose class has the name that means unknown elsewhere."""

WRONG_KIND = "its .json has a value of the wrong kind"
_MANY = 8
"""Fewer texts than these are no sign that ``.txt`` holds captions."""


def about_sample(label: str | None, **more: Any) -> dict[str, Any]:
    """Return the content of a sample's ``.json``; a ``label`` of None is unknown."""
    about: dict[str, Any] = {"label": label, **more}
    return {**about, _KNOWN: True} if label == UNLABELLED else about


def sample_row(about: Mapping[str, bytes], path: str) -> dict[str, Any] | str:
    """Return what is known of a sample, or what is wrong with it.

    The label is ``label`` in the ``.json``; else what ``.cls`` holds; else ``.txt``.

    Args:
        about: The contents of ``.json``, ``.cls`` and ``.txt``, as far as they are there.
        path: The image's, which is its own subject where no other is named.
    """
    row: dict[str, Any] = {"path": path, "subject": path, "label": None, "told_by": ""}
    row["number"] = False
    row |= {"fold": -1, "source": "webdataset", "crop": 0, "synthetic": False, "cls": None}
    try:
        given = json.loads(about.get(".json", b"{}"))
        row["cls"] = _text(about[".cls"]) if ".cls" in about else None
        text = _text(about[".txt"]) if ".txt" in about else None
    except RecursionError:
        return "its .json is nested too deeply"
    except (ValueError, TypeError) as error:
        return f"its label can't be read: {error}"
    if not isinstance(given, dict):
        return "its .json is not an object with the key label"
    wrong = _take(row, given)
    if wrong:
        return f"{WRONG_KIND}: {', '.join(wrong)}"
    for key, highest in _HIGHEST.items():
        if not -1 <= row[key] <= highest:
            return f"its .json has a {key} of {str(row[key])[:30]}, which makes no sense"
        row[key] = max(row[key], -1 if key == "fold" else 0)
    if "label" in given and (row["label"] is not None or row["cls"] is None):
        row["told_by"] = ".json"
    else:
        label = row["cls"] if row["cls"] is not None else text
        if label is None:
            return (
                "neither a .json nor a .cls tells its label (--class-level N takes folder N of its "
                "name)"
            )
        if not label:
            return "its label is empty"
        row["told_by"] = ".cls" if row["cls"] is not None else ".txt"
        row["label"] = label
    return row


def _text(content: bytes) -> str:
    text = content.decode("utf-8-sig").strip()
    return str(int(text)) if text.isascii() and text.lstrip("-").isdigit() else text


def _take(row: dict[str, Any], given: Mapping[str, Any]) -> list[str]:
    """Put what a .json tells into ``row``; return the keys whose values are of the wrong kind."""
    kinds = {"subject": str, "source": str, "fold": int, "crop": int, "synthetic": bool}
    wrong = []
    for key, kind in kinds.items():
        value = given.get(key)
        if key == "subject" and type(value) is int:
            value = str(value)
        if value is None or value == "":
            continue
        if type(value) is not kind:
            wrong.append(key)
        row[key] = value
    label = given.get("label")
    if type(label) is int or (type(label) is float and label.is_integer()):
        label = str(int(label))
        row["number"] = True
    if not isinstance(label, str | None) or label == "":
        wrong.append("label")
    row["label"] = None if label == UNLABELLED and not given.get(_KNOWN) else label
    return wrong


def check_labels(rows: list[dict[str, Any]], where: str) -> tuple[str, ...]:
    """Refuse labels that contradict each other, or that are captions; say where they come from.

    Raises:
        DataError: ``.json`` and ``.cls`` tell different classes, or ``.txt`` holds free text.
    """
    pairs: dict[str, dict[str, str]] = defaultdict(dict)
    for row in rows:
        if row["told_by"] == ".json" and row["label"] is not None and row["cls"] is not None:
            pairs[row["label"]].setdefault(row["cls"], row["path"])
    torn = [
        f"{label!r} is " + " and ".join(f"{cls!r} ({path})" for cls, path in found.items())
        for label, found in pairs.items()
        if len(found) > 1
    ]
    if torn:
        raise DataError(
            f"{where}: the labels in .json and in .cls tell different classes. Write one of them "
            f"only:\n{listed(torn)}"
        )
    texts = [row["label"] for row in rows if row["told_by"] == ".txt"]
    if len(set(texts)) > max(_MANY, len(texts) // 2):
        raise DataError(
            f"{where}: the .txt of {len(texts)} samples hold {len(set(texts))} different texts: "
            "captions, not classes. Give each sample a .cls, or a .json with the key label. They "
            f"are:\n{listed(sorted(set(texts)), 5)}"
        )
    foreign: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        if row["told_by"] != ".json":
            foreign[row["told_by"]].add(row["label"])
    return tuple(
        f"Classes by {ending}: {', '.join(sorted(names)[:10])}{', …' if len(names) > 10 else ''}"
        for ending, names in sorted(foreign.items())
    )


def odd_numbers(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the samples whose ``.json`` gives a number for a label where others give a word."""
    told = [row for row in rows if row["told_by"] == ".json" and row["label"] is not None]
    numbers = [row for row in told if row["number"]]
    return numbers if len(numbers) < len(told) else []
