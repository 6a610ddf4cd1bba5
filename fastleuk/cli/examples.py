"""The commands in the order in which one needs them, each with an example."""

from __future__ import annotations

from typing import Any

import typer.core

SECTIONS = {
    "Train and judge": {
        "train": "fastleuk train --data DIR --backbone efficientnet_b3 --amp",
        "evaluate": "fastleuk evaluate runs/RUN --on DIR --classes Blast=ALL",
        "report": "fastleuk report runs/RUN",
        "explain": "fastleuk explain runs/RUN --part test",
        "runs": "fastleuk runs --sort f1",
        "compare": "fastleuk compare runs/ONE runs/OTHER",
        "cv": "fastleuk cv --data DIR --folds 5 --seeds 3",
        "paper": "fastleuk paper --quick",
    },
    "Use a trained run": {
        "predict": "fastleuk predict runs/RUN DIR --out predictions.csv",
        "export": "fastleuk export runs/RUN --format onnx --preprocessing",
        "push": "fastleuk push runs/RUN USER/NAME",
        "serve": "fastleuk serve runs/RUN",
    },
    "Data": {
        "data": r"fastleuk data DIR --subject-regex '(P\d+)_'",
        "prepare": "fastleuk prepare --data DIR --size 224",
        "pack": "fastleuk pack SHARDS --data DIR",
        "gallery": "fastleuk gallery --data DIR --out gallery.png",
        "demo-data": "fastleuk demo-data DIR --cells 120",
        "cache": "fastleuk cache list",
    },
    "This machine": {
        "doctor": "fastleuk doctor",
        "gpu-check": "fastleuk gpu-check",
        "bench-pipeline": "fastleuk bench-pipeline --data DIR",
    },
}
"""Titles of the help, with commands and an example of each."""


def example(command: str) -> str | None:
    """Return what stands below a command's help; None for a command without an example."""
    for commands in SECTIONS.values():
        if command in commands:
            return f"Example: {commands[command]}"
    return None


class Sections(typer.core.TyperGroup):
    """A group whose help lists its commands under :data:`SECTIONS`."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the commands in the order of need; those that have no place there come last."""
        placed = [name for commands in SECTIONS.values() for name in commands]
        names = super().list_commands(ctx)
        return [name for name in placed if name in names] + [
            name for name in names if name not in placed
        ]

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write a list for each section."""
        names = self.list_commands(ctx)
        width = max(map(len, names))
        for title, commands in SECTIONS.items():
            rows = [
                (f"{name:<{width}}", command.get_short_help_str(1000))
                for name in names
                if name in commands
                and (command := self.get_command(ctx, name)) is not None
                and not command.hidden
            ]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)
