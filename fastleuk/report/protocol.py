"""``fastleuk report`` of a folder of ``cv`` or ``paper``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastleuk.personal_paths import paths_in, replace_paths
from fastleuk.report.facts import data as facts
from fastleuk.report.numbers import plural, whole
from fastleuk.report.page import render
from fastleuk.report.sections.protocol import cv_page, paper_page, read_result
from fastleuk.report.sections.training import settings
from fastleuk.training.checkpoint.file import versions

_CONTENTS = [
    ("results", "Results"),
    ("runs", "Every run"),
    ("ensemble", "Ensemble"),
    ("data", "Data and split"),
    ("limits", "Use and limits"),
    ("versions", "Settings"),
]


def protocol_html(folder: Path, kind: str) -> str:
    """Return the page of a protocol's folder.

    Args:
        folder: Of ``cv`` or ``paper``.
        kind: Which of them.

    Raises:
        CheckpointError: its result is damaged.
    """
    result = read_result(folder, kind)
    page = cv_page(folder, result) if kind == "cv" else paper_page(result)
    disjoint = page.get("disjoint", "")
    places = paths_in(result["config"]) | paths_in({"data": result["data"]["root"]})
    return render(
        f"{kind}.html",
        replace_paths(
            {
                kind: page,
                "kind": "Cross-validation" if kind == "cv" else "Split by image and by subject",
                "title": _title(result, kind),
                "subtitle": _subtitle(result),
                "research_use": facts.RESEARCH_USE,
                "warnings": _warnings(result, kind),
                "where": str(folder),
                "contents": [each for each in _CONTENTS if kind == "cv" or each[0] != "ensemble"],
                "data_sentence": _data(result),
                "disjoint": disjoint,
                "apart": "no subject and no file" in disjoint,
                "notes": page["notes"],
                "class_names": result["class_names"],
                "here": versions(),
                "content": result["data"]["content"],
                "settings": settings(result["config"]),
                "several_seeds": len(result["seeds"]) > 1,
            },
            places,
            elsewhere="",
        ),
    )


def _title(result: Mapping[str, Any], kind: str) -> str:
    name = result["data"]["root"].rstrip("/").rpartition("/")[2]
    data = "the synthetic demo set" if result["synthetic"] else name
    if kind == "cv":
        folds = plural(len(result["splits"]), "fold")
        return f"{result['config']['model']['backbone']} on {data}: {folds}"
    networks = plural(len(result["rows"]), "network")
    return f"{networks} on {data}: how much the split promises"


def _subtitle(result: Mapping[str, Any]) -> str:
    seeds = ", ".join(map(str, result["seeds"]))
    optim, loader = result["config"]["optim"], result["config"]["loader"]
    return (
        f"{plural(len(result['runs']), 'run')} of at most {plural(optim['epochs'], 'epoch')} at "
        f"{loader['size']} pixels; seed{'s' * (len(result['seeds']) > 1)} {seeds}."
    )


def _data(result: Mapping[str, Any]) -> str:
    data = result["data"]
    people = (
        "subjects not known" if data["subject_is_image"] else plural(data["subjects"], "subject")
    )
    return f"{whole(data['images'])} labelled images ({people}) in {data['root']}."


def _warnings(result: Mapping[str, Any], kind: str) -> list[str]:
    told = []
    if result["synthetic"]:
        told.append(
            "These are synthetic cells, drawn by a program. The figures show that the machinery "
            "works; they say nothing about leukemia."
        )
    if result["data"]["subject_is_image"]:
        told.append(
            "No subject is known, so it cannot be shown that training and test share no person; "
            "the figures may be too good."
        )
    if kind == "paper" and result.get("quick"):
        told.append(
            "The miniature (--quick): small networks, trained briefly on small images. Its figures "
            "cannot be compared with published ones."
        )
    if len(result["seeds"]) == 1:
        told.append("One seed: what chance does to these figures is not measured.")
    return told
