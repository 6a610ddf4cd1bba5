"""The page: templates filled with what the sections tell."""

from __future__ import annotations

import importlib.util
import time
from typing import Any

import fastleuk
from fastleuk.errors import MissingDependencyError
from fastleuk.report.numbers import listing

CONTENTS = [
    ("results", "Results"),
    ("calibration", "Calibration"),
    ("subjects", "Subjects"),
    ("cells", "Cells"),
    ("other", "Other data"),
    ("data", "Data and split"),
    ("training", "Training"),
    ("limits", "Use and limits"),
    ("checklists", "Checklists"),
    ("versions", "Versions"),
]


def require_jinja() -> None:
    """Refuse to go on without the package.

    Raises:
        MissingDependencyError: Jinja2 is not installed.
    """
    if importlib.util.find_spec("jinja2") is None:
        raise MissingDependencyError(
            "A report needs the package Jinja2: pip install 'fastleuk[report]'."
        )


def _code_spans(value: Any) -> Any:
    """Turn `` `code` `` in a text into an element; everything is escaped."""
    if type(value) is not str or "`" not in value:
        return value
    from markupsafe import Markup, escape

    pieces = value.split("`")
    if len(pieces) % 2 == 0:
        return value
    return Markup("").join(
        Markup("<code>{}</code>").format(piece) if number % 2 else escape(piece)
        for number, piece in enumerate(pieces)
    )


def render(template: str, values: dict[str, Any]) -> str:
    """Fill a template; every text is escaped, and a name that isn't there is an error.

    Args:
        template: Its name in ``templates``.
        values: What it takes.
    """
    from jinja2 import Environment, PackageLoader, Undefined

    class Loud(Undefined):
        """What isn't there may be asked for, but never be shown."""

        __str__ = __iter__ = __len__ = Undefined._fail_with_undefined_error

    environment = Environment(
        loader=PackageLoader("fastleuk.report", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=Loud,
        finalize=_code_spans,
    )
    environment.filters["listing"] = lambda items: listing(list(items))
    shown = {
        "version": fastleuk.__version__,
        "written": time.strftime("%Y-%m-%d %H:%M"),
        "contents": CONTENTS,
        **values,
    }
    return environment.get_template(template).render(shown)
