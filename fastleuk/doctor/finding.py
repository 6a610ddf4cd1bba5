"""What a check has found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

OK, WARNING, FAILED = "ok", "warning", "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's report.

    Attributes:
        name: What was looked at.
        state: :data:`OK`; :data:`WARNING`: training works, but something doesn't, or slowly;
            :data:`FAILED`: ``fastleuk train`` can't run.
        found: What is there.
        remedy: What to do about it; empty where all is well.
    """

    name: str
    state: str
    found: str
    remedy: str = ""


def ready(findings: Sequence[Finding]) -> bool:
    """Say whether ``fastleuk train`` can run."""
    return all(finding.state != FAILED for finding in findings)


def size(count: float) -> str:
    """Return bytes as a person reads them.

    >>> size(1_500_000_000), size(64 << 20)
    ('1.5 GB', '67 MB')
    """
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
