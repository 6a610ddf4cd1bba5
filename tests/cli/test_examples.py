"""The help: every command has its place and an example, and the examples are commands."""

import shlex

import pytest
import typer
from typer.main import get_command

from fastleuk.cli import app
from fastleuk.cli.examples import SECTIONS, example

COMMANDS = get_command(app).commands
EXAMPLES = {name: text for section in SECTIONS.values() for name, text in section.items()}


def test_every_command_has_a_place_and_train_comes_first():
    assert set(COMMANDS) <= set(EXAMPLES)
    group = get_command(app)
    with typer.Context(group) as context:
        assert group.list_commands(context) == [name for name in EXAMPLES if name in COMMANDS]
        told = group.get_help(context)
    places = [told.index(f"\n  {name} ") for name in EXAMPLES if name in COMMANDS]
    assert places == sorted(places)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_example_stands_in_the_help_and_is_a_command(name):
    command = COMMANDS[name]
    with typer.Context(command, info_name=name) as context:
        assert example(name) in command.get_help(context)
    program, called, *words = shlex.split(EXAMPLES[name])
    assert (program, called) == ("fastleuk", name)
    command.make_context(name, words)  # refuses options and arguments that don't exist
