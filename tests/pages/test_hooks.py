"""Test the generated pages: every command and every option."""

import importlib.util

import pytest
from typer.main import get_command

from fastleuk.cli import app
from tests.makers.cells import PROJECT


def loaded(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def hooks():
    return loaded(PROJECT / "docs" / "hooks.py")


def test_every_command_and_option_is_listed(hooks):
    page = hooks.commands()
    for name, command in get_command(app).commands.items():
        assert f"## fastleuk {name}" in page
        for param in command.params:
            for option in param.opts if param.param_type_name == "option" else ():
                if option not in ("--quiet", "--debug", "--help", "-h"):
                    assert f"`{option}`" in page, option


def test_links_into_the_repository_lead_to_pages_of_the_site(hooks):
    text = "![a](../benchmarks/results/b.png) [c](../benchmarks/README.md) [d](data.md#e)"
    assert hooks.on_page_markdown(text) == "![a](images/b.png) [c](benchmarks.md) [d](data.md#e)"
    for file in hooks.ELSEWHERE.values():
        assert file.is_file()
