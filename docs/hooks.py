"""Pages that are made from the code when the site is built: commands and error messages."""

from __future__ import annotations

import ast
import inspect
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parents[1] / "fastleuk"
ERRORS = ("ConfigError", "DataError", "WeightsError", "CheckpointError", "MissingDependencyError",
          "FastleukError")  # fmt: skip

ROOMS = {
    "cli": "Command line", "config": "Configuration", "data": "Data", "loading": "Loading",
    "augment": "Augmentation", "models": "Models and weights", "training": "Training",
    "run_folder": "Run folders", "evaluation": "Evaluation", "protocols": "Protocols",
    "tracking": "Tracking", "bench": "Benchmarks", "doctor": "Doctor",
}  # fmt: skip
"""Titles of the packages; others are titled by their name."""


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages (mkdocs calls this)."""
    from mkdocs.structure.files import File

    for name, text in (("commands.md", commands()), ("errors.md", errors())):
        files.append(File.generated(config, name, content=text))
    return files


def commands() -> str:
    """Return the page of all commands with their options."""
    from typer.main import get_command

    from fastleuk.cli import app

    parts = [
        "# Commands\n",
        "`--quiet` prints only errors and results, `--debug` shows the tracebacks of errors; both "
        "go with every command. A file of options (`--config`) has the same names, see `fastleuk "
        "train --help`.\n",
    ]
    for name, command in _all(get_command(app)):
        parts.append(f"## fastleuk {name}\n\n{_paragraphs(command.help or '')}\n")
        rows = [row for row in map(_option, command.params) if row]
        if rows:
            parts.append("| | default | |\n|---|---|---|\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


def _all(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every command with its name; those of groups behind the group's."""
    for name, command in sorted(group.commands.items()):
        if hasattr(command, "commands"):
            yield from _all(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


def _paragraphs(text: str) -> str:
    return _plain(inspect.cleandoc(text))


def _option(param: Any) -> str:
    if param.name in ("quiet", "debug", "help"):
        return ""
    names = ", ".join(f"`{name}`" for name in [*param.opts, *param.secondary_opts])
    if param.param_type_name == "argument":
        names = f"`{param.name}`"
    default = param.default
    hidden = (
        default is None or callable(default) or isinstance(default, bool) or default in ("", ())
    )
    hidden = hidden or type(default).__name__ == "Sentinel"
    shown = "" if hidden else f"`{default}`"
    return f"| {names} | {shown} | {_plain(getattr(param, 'help', '') or '')} |"


def _plain(text: str) -> str:
    """Escape what Markdown would take for markup, but within backticks."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(
        part.replace("|", r"\|")
        if part.startswith("`")
        else re.sub(r"([|<>*_\[\]])", r"\\\1", part)
        for part in parts
    )


def errors() -> str:
    """Return the page of all error messages, read from the source."""
    found: dict[str, set[str]] = defaultdict(set)
    for file in sorted(PACKAGE.rglob("*.py")):
        room = file.relative_to(PACKAGE).with_suffix("").parts[0]
        for text in messages(file.read_text(encoding="utf-8")):
            found[room].add(text)
    parts = [
        "# Error messages\n",
        "Every error that you can mend is one message: what was found, where, and what to do. The "
        "command ends with exit code 2 and no traceback (`--debug` shows it). Names in braces "
        "stand for what is found. The list is made from the source.\n",
    ]
    for room in sorted(found, key=lambda r: (r not in ROOMS, r)):
        parts.append(f"## {ROOMS.get(room, room.replace('_', ' '))}\n")
        parts += [f"- {_plain(text)}" for text in sorted(found[room], key=str.casefold)]
        parts.append("")
    return "\n".join(parts)


def messages(source: str) -> list[str]:
    """Return the texts that a module's errors are made with.

    >>> messages('raise DataError(f"{file}: no image. " "Leave it out.")')
    ['{file}: no image. Leave it out.']
    """
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        text = _text(node.args[0]) if name in ERRORS else ""
        if len(text.split()) > 3:
            found.append(" ".join(text.split()))
    return found


def _text(node: ast.AST) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(value) for value in node.values)
    if isinstance(node, ast.FormattedValue):
        return "{" + _name(node.value) + "}"
    if isinstance(node, ast.BinOp):
        return _text(node.left) + _text(node.right)
    return ""


def _name(node: ast.AST) -> str:
    """Return a short name for an expression."""
    if isinstance(node, ast.Name):
        return node.id.strip("_")
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Call):
        return _name(node.args[0]) if node.args else _name(node.func)
    if isinstance(node, ast.Subscript):
        return _name(node.value)
    return "…"
