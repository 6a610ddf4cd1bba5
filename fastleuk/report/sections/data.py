"""The data, their split, and the proof that its parts share nothing."""

from __future__ import annotations

from typing import Any

from fastleuk.report.charts.scores import strip_chart
from fastleuk.report.facts import data as facts
from fastleuk.report.numbers import whole
from fastleuk.report.overlap import TITLES, shared
from fastleuk.report.source import Source


def data(source: Source) -> dict[str, Any]:
    """Return counts by part and class, and what the parts share."""
    separate, sentence = facts.disjoint_sentence(source)
    told: dict[str, Any] = {
        "name": facts.data_name(source),
        "where": str(source.config["data"].get("data") or "The demo set that fastleuk draws"),
        "split": facts.split_sentence(source),
        "separate": separate,
        "sentence": sentence,
        "names": list(source.class_names),
        "positive": source.positive,
        "hash": source.figures.get("data", "not known"),
    }
    if not source.split:
        told["none"] = "Not shown: split.csv is not in the run folder."
        return told
    known = not source.subject_is_image
    told["parts"] = [_part(source, part, title, known=known) for part, title in TITLES.items()]
    unused = len(source.part("unused"))
    if unused:
        told["unused"] = f"{whole(unused)} images are in no part."
    told["shared"] = shared(source.split)
    told["subjects_known"] = known
    return told


def _part(source: Source, part: str, title: str, *, known: bool) -> dict[str, Any]:
    rows, counts = source.part(part), source.counts(part)
    people = {
        name: len({row["subject"] for row in rows if row["label"] == name})
        for name in source.class_names
    }
    return {
        "title": title,
        "images": whole(len(rows)),
        "subjects": whole(len({row["subject"] for row in rows})) if known else "not known",
        "classes": [
            {
                "name": name,
                "images": whole(counts.get(name, 0)),
                "subjects": whole(people[name]) if known else "",
            }
            for name in source.class_names
        ],
    }


def subjects(source: Source) -> dict[str, Any]:
    """Return every subject's scores as a strip plot."""
    tested, positive = source.tested, source.positive
    if tested is None:
        return {"none": f"Not shown: {source.missing['test_predictions.csv']}"}
    if source.subject_is_image or source.intervals.get("over") == "images":
        return {"none": "Not shown: the data name no subjects (see `--subject-regex`)."}
    if positive is None:
        return {"none": "Not shown: no class is known to be the positive one."}
    chart = strip_chart(
        tested.subjects,
        tested.labels,
        tested.probabilities[:, source.class_names.index(positive)],
        source.class_names,
        positive,
        source.decision.threshold if source.decision.threshold is not None else 0.5,
    )
    return {"strip": chart.html, "count": len(set(tested.subjects))}
