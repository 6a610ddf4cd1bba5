"""What the scripts in benchmarks/ import is where they look for it."""

import ast
import importlib
import importlib.util

import pytest

from tests.makers.cells import PROJECT

SCRIPTS = sorted((PROJECT / "benchmarks").glob("*.py"))


def imports(script):
    """Yield (module, name) of what a script imports of the project, in functions too."""
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                yield node.module, alias.name


def _is_module(name):
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # its parent is no package
        return False


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda s: s.stem)
def test_what_a_benchmark_imports_is_there(script):
    for module, name in imports(script):
        if module.partition(".")[0] not in ("fastleuk", "tests"):
            if not (script.parent / f"{module}.py").is_file():
                importlib.import_module(module)
            continue
        try:
            found = hasattr(importlib.import_module(module), name)
        except ModuleNotFoundError as error:
            if str(error.name).startswith(("fastleuk", "tests")):
                raise
            pytest.skip(f"{error.name} is not installed")
        assert found or _is_module(f"{module}.{name}"), f"{module} has no {name}"
