"""The user's cache folder: where it is, and users without a home."""

import os
import pwd
import sys
from pathlib import Path

import pytest

from fastleuk.config import DataConfig, ModelConfig
from fastleuk.data.user_cache.folder import cache_root
from fastleuk.doctor.examine import _cache_folder
from fastleuk.doctor.report import known_places
from fastleuk.errors import ConfigError

CASES = [
    ({"FASTLEUK_CACHE_DIR": "/scratch/f", "XDG_CACHE_HOME": "/x"}, "linux", "/scratch/f"),
    ({"FASTLEUK_CACHE_DIR": "~/f"}, "linux", "/home/anna/f"),
    ({"XDG_CACHE_HOME": "/x"}, "linux", "/x/fastleuk"),
    ({"XDG_CACHE_HOME": " "}, "linux", "/home/anna/.cache/fastleuk"),
    ({}, "linux", "/home/anna/.cache/fastleuk"),
    ({}, "darwin", "/home/anna/Library/Caches/fastleuk"),
]


@pytest.fixture
def environment(monkeypatch):
    for name in ("FASTLEUK_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/anna")
    return monkeypatch


@pytest.fixture
def no_home(environment):
    """A user by number only: no HOME, no entry."""

    def unknown(uid):
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    environment.delenv("HOME")
    environment.setattr(pwd, "getpwuid", unknown)
    return environment


@pytest.mark.parametrize(("variables", "platform", "expected"), CASES)
def test_the_folder_by_variables_and_platform(environment, variables, platform, expected):
    for name, value in variables.items():
        environment.setenv(name, value)
    environment.setattr(sys, "platform", platform)
    assert cache_root() == Path(expected)


def test_without_a_home_the_message_names_the_ways_out(no_home):
    with pytest.raises(ConfigError, match=rf"user {os.getuid()} has none.*FASTLEUK_CACHE_DIR"):
        cache_root()
    no_home.setenv("XDG_CACHE_HOME", "/x")
    assert cache_root() == Path("/x/fastleuk")
    no_home.setenv("FASTLEUK_CACHE_DIR", "~/cache")
    with pytest.raises(ConfigError, match=r"^FASTLEUK_CACHE_DIR: ~/cache needs a home folder"):
        cache_root()
    no_home.setenv("FASTLEUK_CACHE_DIR", "/scratch")
    assert cache_root() == Path("/scratch")


def test_a_report_needs_no_home(no_home, tmp_path):
    no_home.setenv("FASTLEUK_CACHE_DIR", str(tmp_path))
    assert known_places()[str(tmp_path)] == "<cache>"
    assert "~" not in known_places()
    no_home.delenv("FASTLEUK_CACHE_DIR")
    assert "<cache>" not in known_places().values()
    finding = _cache_folder()
    assert (finding.name, finding.state) == ("cache folder", "failed")
    assert "FASTLEUK_CACHE_DIR" in finding.remedy


@pytest.mark.usefixtures("no_home")
@pytest.mark.parametrize(
    "make",
    [
        lambda: DataConfig(root="~/cells"),
        lambda: ModelConfig(weights="~/best.safetensors"),
        lambda: ModelConfig(backbone="local-dir:~/network"),
    ],
)
def test_a_path_in_a_home_that_is_not_there_is_refused(make):
    with pytest.raises(ConfigError, match=r"^--\w+: ~/.* needs a home folder"):
        make()


@pytest.mark.usefixtures("no_home")
@pytest.mark.parametrize(
    "words",
    [
        ["data", "~/cells"],
        ["evaluate", "~/run"],
        ["demo-data", "~/demo"],
        ["evaluate", "run", "--on=~nobody-of-this-name/cells"],
    ],
)
def test_commands_refuse_it_in_one_line(fastleuk, words):
    """No folder named ~ is made."""
    code, _, errors = fastleuk(*words)
    assert code == 2
    assert errors.count("\n") == 1
    assert "needs a home folder" in errors
