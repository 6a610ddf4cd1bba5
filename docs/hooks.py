"""Generate pages and pictures when the site is built: commands, benchmarks, faults."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
PICTURES = PROJECT / "benchmarks" / "results"
ELSEWHERE = {
    "benchmarks.md": PROJECT / "benchmarks" / "README.md",
    "faults.md": PROJECT / "tests" / "faults" / "README.md",
}
"""Pages of the site that lie beside the code that they are about."""


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages (mkdocs calls this)."""
    from mkdocs.structure.files import File

    pages = {"commands.md": commands()}
    pages |= {name: file.read_text(encoding="utf-8") for name, file in ELSEWHERE.items()}
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    for file in PICTURES.glob("*.png"):
        files.append(File.generated(config, f"images/{file.name}", abs_src_path=str(file)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Let links into the repository, which a reader there can follow, lead to the site's pages."""
    markdown = markdown.replace("](../benchmarks/results/", "](images/")
    for name, file in ELSEWHERE.items():
        markdown = markdown.replace(f"](../{file.relative_to(PROJECT).as_posix()}", f"]({name}")
    return markdown


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
            parts.append("| option | default | meaning |\n|---|---|---|\n" + "\n".join(rows) + "\n")
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


def _plain(text: str) -> str:
    """Escape Markdown's characters outside of backticks."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(
        part.replace("|", r"\|")
        if part.startswith("`")
        else re.sub(r"([|<>*_\[\]])", r"\\\1", part)
        for part in parts
    )


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
