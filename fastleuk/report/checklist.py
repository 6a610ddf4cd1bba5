"""The reporting checklists, each item answered."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping
from importlib import resources
from typing import Any

from fastleuk.report.answers import ABSENT, AUTHORS, FILLED, Answer

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILES = ("claim", "stard_ai", "tripod_ai")
TITLES = {FILLED: "from the run", ABSENT: "not in the data", AUTHORS: "to fill by the authors"}


def checklists(answers: Mapping[str, Answer]) -> list[dict[str, Any]]:
    """Return every checklist with its items answered.

    Args:
        answers: Of :func:`fastleuk.report.answers.answers`.
    """
    return [_checklist(name, answers) for name in FILES]


def _checklist(name: str, answers: Mapping[str, Answer]) -> dict[str, Any]:
    found, items = read_checklist(name), []
    known = {AUTHORS: (AUTHORS, ""), ABSENT: (ABSENT, ""), **read_checklist("fixed"), **answers}
    for number, topic, key, *note in found["items"]:
        status, text = known[key]
        text = " ".join([part for part in (text, *note) if part]) or _SILENT[status]
        items.append(
            {
                "number": number,
                "topic": topic,
                "status": status,
                "said": TITLES[status],
                "text": text,
            }
        )
    counts = Counter(item["status"] for item in items)
    return {
        "key": name,
        "name": found["name"],
        "title": found["title"],
        "source": found["source"],
        "items": items,
        "counts": [(TITLES[status], counts[status]) for status in TITLES],
        "total": len(items),
    }


_SILENT = {
    AUTHORS: "A run cannot know this.",
    ABSENT: "The data say nothing of it.",
}


def read_checklist(name: str) -> dict[str, Any]:
    """Return a checklist's source and items as they stand in its file."""
    file = resources.files("fastleuk.report") / "checklists" / f"{name}.toml"
    return tomllib.loads(file.read_text(encoding="utf-8"))
