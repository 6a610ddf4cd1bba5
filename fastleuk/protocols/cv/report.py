"""The Markdown of a cross-validation."""

from __future__ import annotations

from typing import Any

from fastleuk.data.labels.positive import no_positive
from fastleuk.protocols.comparisons import about_comparisons, difference, format_comparisons
from fastleuk.protocols.figures import SYNTHETIC, fraction, notes_list, title_of
from fastleuk.tables import markdown_table


def format_cv(result: dict[str, Any]) -> str:
    """Lay out what ``cv.json`` holds as Markdown."""
    data, model, optim = result["data"], result["config"]["model"], result["config"]["optim"]
    seeds = result["seeds"]
    parts = [f"# Cross-validation of {model['backbone']}"]
    if result["synthetic"]:
        parts.append(SYNTHETIC)
    folds = len(result["splits"])
    drawn = "official folds" if result["folds"] == "official" else "folds drawn by subject"
    parts.append(
        f"{data['images']} labelled images of {data['subjects']} subjects in `{data['root']}`; "
        f"{folds} {drawn}, seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}; weights "
        f"{model['weights']}, at most {optim['epochs']} epochs, {len(result['runs'])} runs."
    )
    parts += ["## By fold", _by_fold(result), "## Together", _together(result)]
    if result["comparisons"] is not None:
        parts += ["## Seeds compared", format_comparisons(result["comparisons"])]
    if result["ensemble"] is not None:
        parts += ["## Ensemble", _ensemble(result["ensemble"])]
    parts += ["## What the figures mean", notes_list(_notes(result))]
    return "\n\n".join(parts) + "\n"


def _by_fold(result: dict[str, Any]) -> str:
    first, names = result["runs"][0], list(result["summary"])
    head = ["test fold", "seed", "images", "subjects", *(title_of(name, first) for name in names)]
    rows = [
        [run["split"], str(run["seed"]), str(run["samples"]), str(run["subjects"]),
         *(fraction(run[name]) for name in names)]
        for run in result["runs"]
    ]  # fmt: skip
    return markdown_table(head, rows)


def _together(result: dict[str, Any]) -> str:
    first, seeds = result["runs"][0], len(result["seeds"])
    head = ["figure", "mean ± sd over folds"]
    intervals = result["pooled"]["intervals"]
    over = f"{intervals['level']:.0%} interval over {intervals['clusters']} {intervals['over']}"
    head += ["sd over seeds"] * (seeds > 1) + ["pooled, out of fold", over]
    rows = []
    for name, value in result["summary"].items():
        pooled = result["pooled"]["figures"][name]
        row = [title_of(name, first), fraction(value["mean"], value["sd_folds"])]
        row += [fraction(value["sd_seeds"])] * (seeds > 1)
        each = intervals["figures"][name]
        ends = "–" if each["low"] is None else f"{each['low']:.3f} to {each['high']:.3f}"
        rows.append([*row, fraction(pooled["mean"], pooled["sd"]), ends])
    return markdown_table(head, rows)


def _ensemble(ensemble: dict[str, Any]) -> str:
    figures = ensemble["figures"]
    if ensemble["on"] == "unseen part":
        what = (
            f"The mean probability of all {ensemble['members']} runs on the "
            f"{ensemble['samples']} images of {ensemble['subjects']} subjects that are in no "
            "official fold: none of the runs has seen these subjects."
        )
    else:
        what = (
            f"The mean over {ensemble['members']} seeds of the out-of-fold probabilities of "
            f"{ensemble['samples']} images of {ensemble['subjects']} subjects."
        )
    found = ensemble["comparisons"]
    head = ["figure", "ensemble", "single runs, mean ± sd", f"gain ({found['level']:.0%})"]
    rows = [
        [title_of(name, figures), fraction(figures[name]), fraction(single["mean"], single["sd"]),
         difference(found["from_mean"].get(name))]
        for name, single in ensemble["single"].items()
    ]  # fmt: skip
    gains = f"gain: the ensemble's figure less the single runs' mean. {about_comparisons(found)}"
    table = format_comparisons(found).partition("\n\n")[0]
    return "\n\n".join([what, markdown_table(head, rows), table, gains])


def _notes(result: dict[str, Any]) -> list[str]:
    seeds = len(result["seeds"])
    notes = []
    if not result["data"]["subject_is_image"]:
        notes.append(
            "No subject stands in the training and the test part of the same run; the validation "
            "part is drawn by subject from the other folds."
        )
    notes.append(
        "sd over folds: of the folds' figures (n - 1); folds differ in their subjects, and their "
        "models share training images, so it is no standard error."
    )
    notes.append(
        "Pooled: every image once, scored by the model that was not trained on its fold"
        + (" (mean ± sd over seeds)" if seeds > 1 else "")
        + ". Its AUC compares scores of different models, so it can fall below the folds' own. Its "
        "interval resamples subjects, not trainings."
    )
    if seeds > 1:
        notes.append(
            "The test folds are the same for every seed; a seed changes the validation part, the "
            "new head, the order of the images and their augmentation."
        )
    if result["ensemble"] is None:
        notes.append(
            "No ensemble: the data have no common part that all runs leave unseen, and one seed "
            "leaves nothing to average. --seeds 3 gives one."
        )
    if result["positive_class"] is None and len(result["class_names"]) == 2:
        notes.append(no_positive(result["class_names"]))
    return notes + result["notes"]
