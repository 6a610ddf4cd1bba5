"""What was measured between the split by image and the split by subject, and how surely."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastleuk.tables import markdown_table

LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Gap:
    """A figure by subject minus the same by image.

    Attributes:
        mean: Over the seeds.
        low: Lower end of Student's interval over the seeds at :data:`LEVEL`; None with one seed.
        high: Its upper end.
    """

    mean: float
    low: float | None
    high: float | None

    @property
    def verdict(self) -> str:
        """``lower``, ``higher``, ``open`` (the interval holds 0) or ``unknown`` (one seed)."""
        if self.low is None or self.high is None:
            return "unknown"
        return "lower" if self.high < 0 else "higher" if self.low > 0 else "open"


def gap(row: Mapping[str, Any], name: str) -> Gap | None:
    """Return the gap of a figure of a row of ``paper.json``, seed by seed; None without any.

    Args:
        row: A row, with ``image`` and ``subject``.
        name: The figure, such as ``f1_macro``.
    """
    pairs = zip(row["image"][name]["seeds"], row["subject"][name]["seeds"], strict=True)
    values = [subject - image for image, subject in pairs if None not in (image, subject)]
    if not values:
        return None
    mean, count = float(np.mean(values)), len(values)
    if count < 2:
        return Gap(mean, None, None)
    from scipy.stats import t

    reach = float(t.ppf((1 + LEVEL) / 2, count - 1) * np.std(values, ddof=1) / np.sqrt(count))
    return Gap(mean, mean - reach, mean + reach)


def format_gaps(rows: Sequence[Mapping[str, Any]], names: Mapping[str, str], seeds: int) -> str:
    """Lay out the gaps as a table and say what they show.

    Args:
        rows: As the table has them.
        names: Titles by figure; ``f1_macro`` is among them.
        seeds: Number of seeds.
    """
    cells = []
    for row in rows:
        gaps = [gap(row, name) for name in names]
        means = ["–" if each is None else f"{100 * each.mean:+.2f}" for each in gaps]
        cells.append([row["name"], *means, _interval(gap(row, "f1_macro"))])
    head = ["Model", *names.values(), f"macro-F1, {LEVEL:.0%} interval"]
    text = "By subject minus by image, in percentage points, means over seeds:"
    return "\n\n".join([text, markdown_table(head, cells), _shown(rows, seeds)])


def _interval(measured: Gap | None) -> str:
    if measured is None or measured.low is None or measured.high is None:
        return "not measured"
    return f"{100 * measured.low:+.2f} to {100 * measured.high:+.2f}"


def _shown(rows: Sequence[Mapping[str, Any]], seeds: int) -> str:
    """Return in words what the gaps in macro-F1 show."""
    verdicts: dict[str, list[str]] = {}
    for row in rows:
        measured = gap(row, "f1_macro")
        verdicts.setdefault(measured.verdict if measured else "unknown", []).append(row["name"])
    if "unknown" in verdicts:
        return (
            "With one seed, how far chance moves these gaps is not measured, so they don't show "
            "that one split reads higher than the other. --seeds 3 measures it."
        )
    texts = {
        "lower": "Macro-F1 reads lower by subject than by image, beyond what seeds differ by: {}. "
        "There the split by image promises more than unseen subjects give.",
        "higher": "Macro-F1 reads higher by subject than by image, beyond what seeds differ by: "
        "{}. There the split by image promises nothing too much.",
        "open": "No difference in macro-F1 is shown (the interval holds 0): {}.",
    }
    said = [text.format(", ".join(verdicts[key])) for key, text in texts.items() if key in verdicts]
    limits = (
        f"The intervals are Student's over {seeds} seeds, each another split and training of the "
        "same subjects; what other subjects would change is not in them."
    )
    return " ".join([*said, limits])
