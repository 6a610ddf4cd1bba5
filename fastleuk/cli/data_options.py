"""Options that say how a data set is read, of the commands that take no whole configuration."""

from __future__ import annotations

from typing import Annotated

import typer

ExcelOption = Annotated[
    bool, typer.Option("--excel", help="Begin the CSV with the byte order mark that Excel needs.")
]
RootOption = Annotated[str, typer.Option(help="Folder that a manifest's paths are relative to.")]
ClassesOption = Annotated[
    str,
    typer.Option(
        help="Of --on, where names differ: its own with the run's, such as "
        "Malignant=ALL,Normal=hem; debris= leaves that class out."
    ),
]
LayoutOption = Annotated[
    str,
    typer.Option(help="Of a folder: folders (are classes), cnmc (UID_ names), parts or auto."),
]
SplitOption = Annotated[
    str, typer.Option(help="folders: train, test and so on are parts, not classes.")
]
RegexOption = Annotated[
    str, typer.Option(help="Group = subject; searched in the path, or else the file name.")
]
ClassLevelOption = Annotated[
    int,
    typer.Option(help="Level of the folders that are classes, from 1; 0: find out.", min=0),
]
SubjectLevelOption = Annotated[
    int, typer.Option(help="Level of the folders that are subjects, from 1; 0: none.", min=0)
]
