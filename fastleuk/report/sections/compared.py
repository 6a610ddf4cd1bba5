"""Networks of a protocol against each other, for its page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastleuk.protocols.comparisons import about_comparisons, difference, p_value, title_of_pair


def compared(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the rows of comparisons and how they were made; None where none were.

    Args:
        found: As :func:`fastleuk.protocols.comparisons.compare_all` returns it.
    """
    if found is None:
        return None
    shown = [name for name in ("f1_macro", "auc", "accuracy") if name in found["titles"]]
    return {
        "several": len(found["pairs"]) > 1,
        "level": f"{found['level']:.0%}",
        "heads": [found["titles"][name] for name in shown],
        "about": about_comparisons(found),
        "rows": [
            {
                "title": title_of_pair(pair),
                "cells": [signed(pair["differences"].get(name)) for name in shown],
                "p": p_value(pair["test"]["p"]),
                "p_holm": p_value(pair["test"]["p_holm"]),
            }
            for pair in found["pairs"]
        ],
    }


def signed(found: Mapping[str, float | None] | None) -> str:
    """Return a difference with its interval, with a true minus sign."""
    return difference(found).replace("-", "−")
