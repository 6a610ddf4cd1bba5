"""The generated pages: every command, every option, every error message."""

import importlib.util

import pytest
from typer.main import get_command

from fastleuk.cli import app
from tests.makers.cells import PROJECT


@pytest.fixture(scope="module")
def hooks():
    spec = importlib.util.spec_from_file_location("hooks", PROJECT / "docs" / "hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_messages_are_read_from_the_source(hooks):
    source = """
raise DataError(f"{file}: {reason!r} is no image. " "Leave it " + "out.")
return errors.ConfigError(f"--size is {config.size}, but must be {least(8)} or more.")
raise ValueError("not one that a user is shown at all")
raise DataError(text)
"""
    assert hooks.messages(source) == [
        "{file}: {reason} is no image. Leave it out.",
        "--size is {size}, but must be {…} or more.",
    ]


def test_known_messages_are_listed(hooks):
    page = hooks.errors()
    for part in (
        "Choose a new folder, or go on with the run in it",
        "--folds official",
        "--job is",
    ):
        assert part in page, part
    assert page.count("\n- ") > 150


def test_every_command_and_option_is_listed(hooks):
    page = hooks.commands()
    for name, command in get_command(app).commands.items():
        assert f"## fastleuk {name}" in page
        for param in command.params:
            for option in param.opts if param.param_type_name == "option" else ():
                if option not in ("--quiet", "--debug", "--help", "-h"):
                    assert f"`{option}`" in page, option
