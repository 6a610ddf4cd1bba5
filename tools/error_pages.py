"""The page of error messages, made from the source: ``python tools/error_pages.py`` prints it."""

from __future__ import annotations

import ast
import functools
import re
from collections import defaultdict
from pathlib import Path

from error_messages import constants, messages, remedies, unambiguous
from error_remedies import names_a_remedy, remedy

PACKAGE = Path(__file__).resolve().parents[1] / "fastleuk"

ROOMS = {
    "cli": ("Command line", "every command"),
    "config": ("Configuration", "`train`, `cv`, `paper`"),
    "data": ("Data", "`data`, `train`, `prepare`, `pack`, `cache`, `demo-data`"),
    "loading": ("Loading", "`train`, `prepare`, `evaluate`, `predict`"),
    "augment": ("Augmentation", "`train`, `gallery`, `gpu-check`, and the import"),
    "models": ("Models and weights", "`train`, and what loads a run"),
    "training": ("Training", "`train`, `cv`, `paper`"),
    "run_folder": ("Run folders", "`train`, `evaluate`"),
    "evaluation": ("Evaluation", "`train`, `evaluate`, and the import"),
    "protocols": ("Protocols", "`cv`, `paper`"),
    "tracking": ("Tracking", "`runs`, `compare`"),
    "predict": ("Prediction", "`predict`, `serve`, `fastleuk.load`"),
    "explain": ("Explanation", "`explain`, `report`"),
    "report": ("Report", "`report`"),
    "export": ("Export", "`export`"),
    "serve": ("Server", "`serve`"),
    "bench": ("Benchmarks", "`bench-pipeline`"),
    "doctor": ("Doctor", "`doctor`"),
    "system": ("What the system refuses", "every command"),
}
"""Title and users of each room; the order of the page."""

INTRO = """# Error messages

An error that you can mend is one message: what was found, where, and what to do. It has no traceback; `--debug` shows
it. Search this page for words of the message that stand outside of names and numbers.

| exit code | what it means |
|---|---|
| 0 | done |
| 1 | `doctor` or `gpu-check`: something essential does not work. Otherwise a fault of fastleuk itself, with a traceback: please report it with `fastleuk doctor --json` |
| 2 | an error of this page, or an option that doesn't exist |
| 130, 138, 143 | stopped by Ctrl-C, SIGUSR1 or SIGTERM; a training has written its checkpoint |

‹…› stands for what is filled in, […] for a part that may be missing. Behind **→** stands what the page
adds to a message that names only the cause. The list is made from the source.
"""


def page() -> str:
    """Return the page in Markdown."""
    found = by_room()
    rows = [
        f"| [{ROOMS[room][0]}](#{_anchor(ROOMS[room][0])}) | {ROOMS[room][1]} | {len(found[room])} |"
        for room in ROOMS
        if room in found
    ]
    parts = [INTRO, "| where | shown by | messages |\n|---|---|---:|\n" + "\n".join(rows) + "\n"]
    for room in ROOMS:
        if room in found:
            parts.append(f"## {ROOMS[room][0]}\n")
            parts += [_item(text) for text in sorted(found[room], key=str.casefold)]
            parts.append("")
    return "\n".join(parts)


def _item(text: str) -> str:
    more = "" if names_a_remedy(text) else remedy(text)
    return f"- {plain(text)}" + (f" **→** *{plain(more)}*" if more else "")


@functools.cache
def by_room() -> dict[str, set[str]]:
    """Return the texts of each of :data:`ROOMS`."""
    sources = {
        file: ast.parse(file.read_text(encoding="utf-8")) for file in sorted(PACKAGE.rglob("*.py"))
    }
    others = {
        ".".join(["fastleuk", *file.relative_to(PACKAGE).with_suffix("").parts]).removesuffix(
            ".__init__"
        ): tree
        for file, tree in sources.items()
    }
    everywhere = unambiguous(others)
    found: dict[str, set[str]] = defaultdict(set)
    for file, tree in sources.items():
        room = file.relative_to(PACKAGE).with_suffix("").parts[0]
        texts = (
            remedies(tree)
            if room == "os_errors"
            else messages(tree, constants(tree, others, everywhere))
        )
        if texts:
            found[room if room in ROOMS else "system"] |= set(texts)
    return found


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")


def plain(text: str) -> str:
    """Escape what Markdown would take for markup, but within backticks."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(
        part.replace("|", r"\|")
        if part.startswith("`")
        else re.sub(r"([|<>*_\[\]])", r"\\\1", part)
        for part in parts
    )


if __name__ == "__main__":
    print(page())
