"""`pip install -e CLONE`: usable beside the clone, and for type checkers."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.makers.cells import PROJECT

CODE = "import fastleuk; print(fastleuk.__file__, fastleuk.load.__name__)"


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A clone named as the package, installed into an environment beside it."""
    folder = tmp_path_factory.mktemp("beside")
    source = folder / "fastleuk"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PROJECT / "fastleuk", source / "fastleuk", ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(PROJECT / name, source)
    env = folder / "env"
    run(sys.executable, "-m", "venv", "--without-pip", env, cwd=folder)
    (packages,) = env.glob("lib/python*/site-packages")
    spec = importlib.util.find_spec("setuptools")
    here = Path(spec.origin).parents[1]
    backend = folder / "backend"
    backend.mkdir()
    for pattern in ("setuptools*", "_distutils_hack", "wheel*"):
        for each in here.glob(pattern):
            (backend / each.name).symlink_to(each)
    (packages / "backend.pth").write_text(f"{backend}\n")
    python = env / "bin" / "python"
    run(
        sys.executable, "-m", "pip", "--python", python, "install", "--no-index", "--no-deps",
        "--no-build-isolation", "--disable-pip-version-check", "-e", source, cwd=folder,
    )  # fmt: skip
    (packages / "dependencies.pth").write_text(f"{here}\n")
    return source, python


def run(*command, cwd):
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("place", ["beside", "inside", "elsewhere"])
def test_the_package_is_imported_from_everywhere(clone, tmp_path, place):
    source, python = clone
    folder = {"beside": source.parent, "inside": source, "elsewhere": tmp_path}[place]
    file, load = run(python, "-c", CODE, cwd=folder).split()
    assert (Path(file), load) == (source / "fastleuk" / "__init__.py", "load")
    assert run(python, "-m", "fastleuk", "--version", cwd=folder).startswith("fastleuk ")
    assert run(python.parent / "fastleuk", "--version", cwd=folder).startswith("fastleuk ")


def test_an_edit_of_the_clone_counts_at_once(clone, tmp_path):
    source, python = clone
    (source / "fastleuk" / "added.py").write_text("VALUE = 3\n")
    code = "from fastleuk.added import VALUE; print(VALUE)"
    assert run(python, "-c", code, cwd=tmp_path).strip() == "3"


@pytest.mark.parametrize("place", ["beside", "elsewhere"])
def test_a_type_checker_finds_the_package(clone, tmp_path, place):
    modulefinder = pytest.importorskip("mypy.modulefinder")
    from mypy.options import Options

    source, python = clone
    folder = source.parent if place == "beside" else tmp_path
    options = Options()
    options.python_executable = str(python)
    site_packages = modulefinder.get_search_dirs(str(python))
    paths = modulefinder.SearchPaths(
        (str(folder),), (), tuple(site_packages[0] + site_packages[1]), ()
    )
    found = modulefinder.FindModuleCache(paths, None, options).find_module("fastleuk")
    assert found == str(source / "fastleuk" / "__init__.py")
