"""CITATION.cff, SECURITY.md and the issue templates say what is so."""

import re

import pytest
from typer.main import get_command

import fastleuk
from fastleuk.cli import app
from fastleuk.data.images.decode import MAX_PIXELS
from tests.makers.cells import PROJECT

TEMPLATES = sorted((PROJECT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))


def test_the_citation_names_this_version():
    text = (PROJECT / "CITATION.cff").read_text()
    assert f"\nversion: {fastleuk.__version__}\n" in text
    for key in ("cff-version", "message", "title", "authors", "license"):
        assert re.search(rf"^{key}:", text, re.MULTILINE), key


def test_security_states_the_limit_of_the_code():
    assert f"{MAX_PIXELS // 10**6} million pixels" in (PROJECT / "SECURITY.md").read_text()


@pytest.mark.parametrize("name", ["bug.yml", "slow.yml"])
def test_reports_ask_for_the_doctor(name):
    assert "fastleuk doctor --json" in (PROJECT / ".github" / "ISSUE_TEMPLATE" / name).read_text()


@pytest.mark.parametrize("file", TEMPLATES, ids=lambda f: f.name)
def test_templates_are_well_formed_and_their_commands_exist(file):
    yaml = pytest.importorskip("yaml")
    form = yaml.safe_load(file.read_text())
    if file.name != "config.yml":
        assert {"name", "description", "body"} <= set(form)
        ids = [field["id"] for field in form["body"]]
        assert len(ids) == len(set(ids))
    commands = get_command(app).commands
    for name, rest in re.findall(r"`fastleuk ([a-z-]+)([^`]*)`", file.read_text()):
        options = {option for p in commands[name].params for option in p.opts}
        assert set(re.findall(r"--[a-z-]+", rest)) <= options
