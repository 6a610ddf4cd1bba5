"""What ``fastleuk evaluate`` adds: baselines, calibration, subjects' figures, other data."""

from __future__ import annotations

from typing import Any

from fastleuk.report.source import Source


def baselines(source: Source) -> dict[str, Any]:
    """Return size alone and colours alone beside the network."""
    return {"none": f"Not computed. fastleuk evaluate {source.run_dir} does it."}


def calibration(_: Source) -> dict[str, Any]:
    """Return the reliability diagram, and the decision curve."""
    return {"none": "Not computed.", "sentences": []}


def subject_figures(_: Source) -> dict[str, Any]:
    """Return figures of subjects instead of images."""
    return {}


def external(_: Source) -> dict[str, Any]:
    """Return what the run reads on other data."""
    return {"none": "Not tested on data from elsewhere. fastleuk evaluate RUN --on DATA does it."}
