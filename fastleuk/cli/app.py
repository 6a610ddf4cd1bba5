"""The typer application that the commands hang on, and how it ends."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Annotated

import typer

import fastleuk
from fastleuk.errors import FastleukError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
) -> None:
    """Train, evaluate and feed classifiers of leukemia cells at the speed of the GPU."""
    if debug:
        os.environ["FASTLEUK_DEBUG"] = "1"
    if version:
        typer.echo(f"fastleuk {fastleuk.__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main() -> None:
    """Run the command line: errors that a user can mend exit with 2 and no traceback."""
    try:
        app()
    except FastleukError as error:
        if os.environ.get("FASTLEUK_DEBUG"):
            raise
        tell(error)
        sys.exit(error.exit_code)


def tell(error: BaseException, who: str = "") -> None:
    """Print an error: one that a user can mend without its traceback, unless ``--debug`` is on.

    Args:
        error: Any.
        who: The process it happened in, if there are several and it isn't the first.
    """
    if isinstance(error, FastleukError) and not os.environ.get("FASTLEUK_DEBUG"):
        typer.echo(f"error{f' in {who}' if who else ''}: {error}", err=True)
    else:
        if who:
            typer.echo(f"In {who}:", err=True)
        traceback.print_exception(error)
