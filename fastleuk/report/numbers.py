"""Numbers as the page writes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NOT_COMPUTED = "not computed"


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with so many decimals, or that there is none.

    >>> number(0.97296), number(None), number(-0.0001)
    ('0.973', 'not computed', '0.000')
    """
    if value is None:
        return NOT_COMPUTED
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if not float(text) else text.replace("-", "−")


def whole(value: float) -> str:
    """Return a count with commas between thousands.

    >>> whole(12345)
    '12,345'
    """
    return f"{value:,.0f}"


def ends(figure: Mapping[str, Any] | None) -> str:
    """Return an interval, such as ``0.868 to 0.995``, or why there is none."""
    if not figure:
        return NOT_COMPUTED
    low, high = figure.get("low"), figure.get("high")
    if low is None or high is None:
        return str(figure.get("undefined", "undefined"))
    return f"{number(low)} to {number(high)}"


def estimate(figure: Mapping[str, Any] | None) -> str:
    """Return a figure's value, or why there is none."""
    if not figure:
        return NOT_COMPUTED
    value = figure.get("estimate")
    return str(figure.get("undefined", "undefined")) if value is None else number(value)


def with_interval(figure: Mapping[str, Any] | None, level: float = 0.95) -> str:
    """Return such as ``0.973 (95% interval 0.868 to 0.995)``."""
    if not figure or figure.get("estimate") is None:
        return estimate(figure)
    return f"{estimate(figure)} ({level:.0%} interval {ends(figure)})"


def duration(seconds: float) -> str:
    """Return a time for people.

    >>> duration(75), duration(5400), duration(40)
    ('1 min 15 s', '1.5 h', '40 s')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"
    return f"{seconds / 3600:.1f} h"


def listing(items: list[str]) -> str:
    """Join words: commas, and ``and`` before the last.

    >>> listing(["a", "b", "c"])
    'a, b and c'
    """
    return " and ".join([", ".join(items[:-1]), items[-1]]) if len(items) > 1 else "".join(items)


def plural(count: int, noun: str) -> str:
    """Return count and noun.

    >>> plural(1, "subject"), plural(1200, "image")
    ('1 subject', '1,200 images')
    """
    return f"{whole(count)} {noun}{'' if count == 1 else 's'}"


def were(count: int) -> str:
    """Return the verb for a count.

    >>> were(1), were(0), were(2)
    ('was', 'were', 'were')
    """
    return "was" if count == 1 else "were"


def capital(text: str) -> str:
    """Return a text that begins a sentence."""
    return text[:1].upper() + text[1:]
