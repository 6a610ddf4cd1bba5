"""Command line options made from the configuration's fields, and the way back."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import typer

from fastleuk.cli.app import Command
from fastleuk.config import Config
from fastleuk.config.option import flag

_PANELS = {
    "run": "Run",
    "data": "Data",
    "augment": "Augmentation",
    "loader": "Loading",
    "model": "Model",
    "optim": "Training",
}


class GroupedCommand(Command):
    """A command whose help lists its options in groups."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write each panel's options as a section of their own."""
        panels: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                panel = getattr(param, "rich_help_panel", None) or "Options"
                panels.setdefault(panel, []).append(record)
        for panel, records in panels.items():
            with formatter.section(panel):
                formatter.write_dl(records)


def config_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add an option for every field of the configuration to ``command``.

    What the user gave of them is :func:`given_tables` of the command's context; the command's
    own function takes only its own parameters, the first of which is that context.
    """
    own = inspect.signature(command, eval_str=True).parameters

    @functools.wraps(command)
    def wrapper(**values: Any) -> None:
        command(**{name: values[name] for name in own})

    added = [_parameter(section, field) for section, field in _fields()]
    wrapper.__signature__ = inspect.Signature([*own.values(), *added])  # type: ignore[attr-defined]
    return wrapper


def given_tables(context: typer.Context) -> dict[str, dict[str, Any]]:
    """Return what stands on the command line, by section and field; defaults are left out."""
    tables: dict[str, dict[str, Any]] = {}
    for section, field in _fields():
        if is_given(context, field.name):
            tables.setdefault(section, {})[field.name] = context.params[field.name]
    return tables


def is_given(context: typer.Context, name: str) -> bool:
    """Say whether a parameter stands on the command line."""
    source = context.get_parameter_source(name)
    return source is not None and source.name not in ("DEFAULT", "DEFAULT_MAP")


def _fields() -> Iterator[tuple[str, dataclasses.Field]]:
    sections = {field.name: field.default_factory for field in dataclasses.fields(Config)}
    for section in _PANELS:
        for field in dataclasses.fields(sections[section]):  # type: ignore[arg-type]
            yield section, field


def _parameter(section: str, field: dataclasses.Field) -> inspect.Parameter:
    name, switch = flag(field.name), isinstance(field.default, bool)
    option = typer.Option(
        f"{name}/--no-{name[2:]}" if switch else name,
        help=field.metadata["help"],
        rich_help_panel=_PANELS[section],
        show_default=not switch,
    )
    return inspect.Parameter(
        field.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=field.default,
        annotation=Annotated[type(field.default), option],
    )
