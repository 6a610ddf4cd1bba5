"""The typer application that the commands hang on, and how it ends."""

from __future__ import annotations

import functools
import inspect
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

import fastleuk
from fastleuk.cli.examples import Sections, example
from fastleuk.errors import FastleukError
from fastleuk.files import expand_home
from fastleuk.run_log import QUIET
from fastleuk.stop_signals import ended_by_signals
from fastleuk.terminal import prepare_streams

DEBUG = "FASTLEUK_DEBUG"
_NOT_PATHS = ("subject_regex", "methods", "folds", "sort", "backbones")
LEFT = {
    "train": "Training had not begun, or had ended: a run folder that is there continues with "
    "fastleuk train --resume FOLDER, or is evaluated. The decoded cache continues next time.",
    "cv": "Finished runs are kept: the same command goes on.",
    "paper": "Finished runs are kept: the same command goes on.",
    "prepare": "What is decoded is kept: the same command goes on.",
    "evaluate": "No figures were written; those that were there are as before. Predictions of --on "
    "are saved every 4,096 images: the same command resumes.",
    "predict": "The rows that are there are sound: the same command with --resume goes on.",
    "pack": "No shards were left.",
    "demo-data": "The folder is not whole: remove it before the command is given again.",
}
"""State of the files after Ctrl-C, SIGTERM or SIGHUP, by command."""


class Command(typer.core.TyperCommand):
    """A command that expands ``~`` in paths however they come."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse; the shell leaves ``~`` alone in ``--out=~/run``, in quotes and in scripts."""
        rest = super().parse_args(ctx, args)
        for name, value in ctx.params.items():
            if name not in _NOT_PATHS:
                ctx.params[name] = _expanded(value, name)
        return rest


def _expanded(value: Any, name: str) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(_expanded(each, name) for each in value)
    if isinstance(value, (str, Path)) and str(value).startswith("~"):
        return type(value)(expand_home(str(value), f"--{name.replace('_', '-')}"))
    return value


def _switch(option: str, variable: str, help: str) -> inspect.Parameter:
    def turn_on(value: bool) -> None:
        if value:
            os.environ[variable] = "1"

    declared = typer.Option(
        option, help=help, callback=turn_on, expose_value=False, is_eager=True, show_default=False
    )
    return inspect.Parameter(
        option.strip("-"),
        inspect.Parameter.KEYWORD_ONLY,
        default=False,
        annotation=Annotated[bool, declared],
    )


_EVERYWHERE = (
    _switch("--quiet", QUIET, "Print only errors and results."),
    _switch("--debug", DEBUG, "Show tracebacks of errors."),
)
"""Options that stand before the command or behind it."""


class Application(typer.Typer):
    """A typer application whose commands are :class:`Command`, with ``--quiet`` and ``--debug``."""

    def command(self, name: str | None = None, **options: Any) -> Any:
        """Register a command."""

        def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
            called = name or function.__name__.replace("_", "-")
            given = {"cls": Command, "epilog": example(called), **options}
            register = super(Application, self).command(name, **given)

            @functools.wraps(function)
            def wrapper(quiet: bool = False, debug: bool = False, **values: Any) -> Any:
                del quiet, debug  # their callbacks have seen them
                prepare_streams()
                return function(**values)

            own = inspect.signature(function, eval_str=True).parameters.values()
            signature = inspect.Signature([*own, *_EVERYWHERE])
            wrapper.__signature__ = signature  # type: ignore[attr-defined]
            register(wrapper)
            return function

        return decorate


app = Application(
    cls=Sections,
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
    quiet: Annotated[bool, typer.Option("--quiet", help="Print only errors and results.")] = False,
) -> None:
    """Train and evaluate classifiers of leukemia cells with NVIDIA DALI and PyTorch."""
    if debug:
        os.environ[DEBUG] = "1"
    if quiet:
        os.environ[QUIET] = "1"
    if version:
        typer.echo(f"fastleuk {fastleuk.__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main() -> None:
    """Run the command line: errors that a user can mend exit with 2 and no traceback."""
    prepare_streams()
    # OpenMP's threads spin while they wait for each other. On a busy machine they take the core
    # that the awaited thread needs: a batch took nine times as long as with threads that sleep.
    # torch reads this when it is loaded, which is later.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # PIL warns in its own words of damaged files, which are named.
    warnings.filterwarnings("ignore", category=UserWarning, module="PIL")
    try:
        with ended_by_signals() as received:
            app()
    except SystemExit as end:
        if end.code == 130:  # typer's answer to Ctrl-C, which says nothing
            command = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
            typer.echo(f"Stopped. {LEFT.get(command, 'Nothing was left half-done.')}", err=True)
            end.code = 128 + (received.number or signal.SIGINT)
        raise
    except Exception as error:
        from fastleuk.os_errors import as_refusal

        told = as_refusal(error)
        if told is None or os.environ.get(DEBUG):
            raise
        tell(told)
        sys.exit(told.exit_code)


def tell(error: BaseException, who: str = "") -> None:
    """Print an error: one that a user can mend without its traceback, unless ``--debug`` is on.

    Args:
        error: Any.
        who: The process it happened in, if there are several and it isn't the first.
    """
    if isinstance(error, FastleukError) and not os.environ.get(DEBUG):
        typer.echo(f"error{f' in {who}' if who else ''}: {error}", err=True)
    elif isinstance(error, KeyboardInterrupt):
        typer.echo(f"Stopped{f' in {who}' if who else ''}.", err=True)
    else:
        if who:
            typer.echo(f"In {who}:", err=True)
        traceback.print_exception(error)
