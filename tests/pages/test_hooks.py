"""The generated pages: every command, every option, every error message with its remedy."""

import ast
import importlib.util
import re
import sys

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
    before = list(sys.path)
    yield loaded(PROJECT / "docs" / "hooks.py")
    sys.path[:] = before


@pytest.fixture(scope="module")
def tool(hooks):
    assert hooks
    return sys.modules["error_pages"]


@pytest.fixture(scope="module")
def texts(tool):
    assert tool
    return sys.modules["error_messages"]


def read(tool, source, constants=()):
    return tool.messages(ast.parse(source), dict(constants))


def test_messages_are_read_from_the_source(tool):
    source = """
raise DataError(f"{file}: {reason!r} is no image. " "Leave it " + "out.")
return errors.ConfigError(f"--size is {config.size}, but must be {least(8)} or more{CONFIG}.")
raise ValueError("not one that a user is shown at all")
raise DataError(text)
"""
    assert read(tool, source, {"CONFIG": ".toml"}) == [
        "‹file›: ‹reason› is no image. Leave it out.",
        "--size is ‹size›, but must be ‹…› or more.toml.",
    ]


def test_messages_in_variables_and_of_functions_are_read(tool):
    source = """
def refuse(run_dir):
    if run_dir:
        text = f"{run_dir} is empty now{', too' if more else ''}."
    else:
        text = "It was never there."
    raise CheckpointError(text)

def tell(place):
    return f"{place}: a file, not a folder"

def other():
    raise DataError(tell(1))
"""
    assert read(tool, source) == [
        "‹RUN› is empty now[, too].",
        "It was never there.",
        "‹place›: a file, not a folder",
    ]


def test_constants_are_those_of_the_module_or_of_where_they_come_from(texts):
    here = ast.parse(
        "from fastleuk.names import CONFIG\nWAYS = ('a', 'b')\nBOTH = {'x': 1, 'y': 2}"
    )
    there = ast.parse("CONFIG = 'config.toml'\nONLY = 'only.csv'")
    others = {"fastleuk.names": there, "fastleuk.other": ast.parse("CONFIG = 'else'")}
    known = texts.constants(here, others, texts.unambiguous(others))
    assert known == {"CONFIG": "config.toml", "WAYS": "a, b", "BOTH": "x, y", "ONLY": "only.csv"}


def test_every_error_of_the_package_is_on_the_page(tool, texts):
    """Counted apart from the tool: calls of an error class with words of their own in them."""
    page = tool.page()
    long = []
    for file in (PROJECT / "fastleuk").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and node.args:
                name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                if name.endswith("Error") and name in texts.ERRORS:
                    words = [
                        n.value
                        for n in ast.walk(node.args[0])
                        if isinstance(n, ast.Constant) and isinstance(n.value, str)
                    ]
                    long.append(" ".join(max(words, key=len, default="").split()))
    long = [text for text in long if len(text.split()) > 5]
    assert len(long) > 300
    assert [text for text in long if tool.plain(text) not in page] == []


def test_every_message_has_a_remedy(tool):
    lacking = [
        text
        for found in tool.by_room().values()
        for text in found
        if not tool.names_a_remedy(text) and not tool.remedy(text)
    ]
    assert lacking == [], "name a remedy in the message, or give a rule in tools/error_remedies.py"


def test_what_the_page_adds_stands_behind_an_arrow(tool):
    page = tool.page()
    assert re.search(r"- ‹place›: no image in it.* \*\*→\*\* \*Give the folder", page)
    assert "Give a name that ends in" not in page
    assert re.search(r"- ‹path›: ‹what the system says›. The disk is full", page)


def test_every_room_has_a_title(tool):
    rooms = {
        path.name
        for path in (PROJECT / "fastleuk").iterdir()
        if path.is_dir() and (path / "__init__.py").exists()
    }
    assert rooms - set(tool.ROOMS) == set()
    page = tool.page()
    for room in tool.by_room():
        assert f"\n## {tool.ROOMS[room][0]}\n" in page


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
