"""The examples in docstrings are true."""

import doctest
import importlib
from pathlib import Path

import pytest

import fastleuk

PACKAGE = Path(fastleuk.__file__).parent
MODULES = [
    ".".join(("fastleuk", *file.relative_to(PACKAGE).with_suffix("").parts))
    for file in sorted(PACKAGE.rglob("*.py"))
    if ">>>" in file.read_text()
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted
    assert not result.failed
