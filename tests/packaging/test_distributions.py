"""Wheel and source archive: built, installed into a clean environment offline, and run."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.makers.cells import PROJECT
from tests.makers.project import pyproject

pytestmark = pytest.mark.slow
NEEDED = ("pyproject.toml", "README.md", "LICENSE")


def run(*command, cwd, **more):
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, capture_output=True, text=True, timeout=300, **more
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(kind, source, out):
    code = f"from setuptools.build_meta import build_{kind}; print(build_{kind}({str(out)!r}))"
    return out / run(sys.executable, "-c", code, cwd=source).strip().splitlines()[-1]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Paths of the wheel from the tree, the source archive, and the wheel from that."""
    folder = tmp_path_factory.mktemp("dist")
    source = folder / "source"
    shutil.copytree(
        PROJECT / "fastleuk", source / "fastleuk", ignore=shutil.ignore_patterns("__pycache__")
    )
    for name in NEEDED:
        shutil.copy(PROJECT / name, source)
    archive = build("sdist", source, folder)
    wheel = build("wheel", source, folder)
    with tarfile.open(archive) as tar:
        tar.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    (folder / "again").mkdir()
    return wheel, archive, build("wheel", unpacked, folder / "again")


def contents(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_wheel_holds_the_package_and_nothing_else(built):
    names = set(contents(built[0]))
    here = {
        f.relative_to(PROJECT).as_posix()
        for f in (PROJECT / "fastleuk").rglob("*")
        if f.is_file() and "__pycache__" not in f.parts
    }
    assert {name for name in names if ".dist-info/" not in name} == here
    assert any(name.endswith("licenses/LICENSE") for name in names)
    (about,) = (contents(built[0])[name] for name in names if name.endswith("METADATA"))
    assert f"Requires-Python: {pyproject()['project']['requires-python']}" in about.decode()


def test_the_source_archive_gives_the_same_wheel(built):
    one, other = (contents(wheel) for wheel in (built[0], built[2]))
    assert one.keys() == other.keys()
    assert [n for n in one if one[n] != other[n] and not n.endswith("RECORD")] == []


def test_a_clean_environment_trains(built, tmp_path):
    run(sys.executable, "-m", "venv", tmp_path / "env", cwd=tmp_path)
    python = tmp_path / "env" / "bin" / "python"
    offline = {**os.environ, "PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    offline.pop("PYTHONPATH", None)
    offline |= {"FASTLEUK_CACHE_DIR": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"}
    run(python, "-m", "pip", "install", "--no-deps", built[0], cwd=tmp_path, env=offline)
    (packages,) = (tmp_path / "env").glob("lib/python*/site-packages")
    # Dependencies can't be fetched: they are those of the environment that tests, behind its own.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    where = run(
        python, "-c", "import fastleuk; print(fastleuk.__file__)", cwd=tmp_path, env=offline
    )
    assert Path(where.strip()).is_relative_to(tmp_path / "env")
    fastleuk = tmp_path / "env" / "bin" / "fastleuk"
    assert run(fastleuk, "--version", cwd=tmp_path, env=offline).startswith("fastleuk ")
    run(fastleuk, "demo-data", "cells", "--cells", "120", cwd=tmp_path, env=offline)
    said = run(
        fastleuk, "train", "--data", "cells", "--backbone", "test_efficientnet", "--weights",
        "none", "--size", "48", "--epochs", "1", "--device", "cpu", "--out", "run",
        cwd=tmp_path, env=offline,
    )  # fmt: skip
    assert "accuracy" in said
    assert (tmp_path / "run" / "best.safetensors").is_file()
