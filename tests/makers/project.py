"""What pyproject.toml says."""

import sys
from typing import Any

from tests.makers.cells import PROJECT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def pyproject() -> dict[str, Any]:
    """The whole table."""
    return tomllib.loads((PROJECT / "pyproject.toml").read_text())
