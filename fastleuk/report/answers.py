"""What a run answers to the items of the checklists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastleuk.report.facts import data as facts
from fastleuk.report.facts import results as facts_results
from fastleuk.report.facts import training as facts_training
from fastleuk.report.facts.decision import decision_sentence
from fastleuk.report.numbers import capital, listing, plural, were
from fastleuk.report.source import Source
from fastleuk.run_folder.names import SKIPPED

FILLED, ABSENT, AUTHORS = "filled", "absent", "authors"
Answer = tuple[str, str]
"""Status and text."""

_Page = dict[str, Any]


def answers(source: Source, page: _Page) -> dict[str, Answer]:
    """Answer the questions that the checklists ask of the run.

    Args:
        source: The run.
        page: What the page tells, by section: what is missing there is not claimed here.
    """
    found = {name: (FILLED, fact(source)) for name, fact in _FACTS.items()}
    found |= {name: answer(source) for name, answer in _OF_RUN.items()}
    found |= {name: answer(page) for name, answer in _OF_PAGE.items()}
    found["failures"], found["clusters"] = _failures(source, page), _clusters(source, page)
    return found


def _of_run(text: str) -> Answer:
    """Return what the run knows of an item that the authors have to fill."""
    return AUTHORS, f"Of the run: {text}"


def _title(source: Source) -> Answer:
    model, figures = facts_training.model_sentence(source), facts_results.headline_sentence(source)
    return _of_run(f"deep learning. {model} Tested: {figures}.")


def _data_source(source: Source) -> Answer:
    if source.synthetic:
        return FILLED, "Synthetic cells drawn by fastleuk; no patient is behind them."
    where, content = source.config["data"].get("data"), source.figures.get("data", "not known")
    return _of_run(
        f"the data in {where}, content hash {content[:16]}…; their origin it does not know."
    )


def _eligibility(source: Source) -> Answer:
    return _of_run(
        "every labelled image that could be read was used, and copies of another image were "
        f"left out. {facts.parts_sentence(source)}"
    )


def _labels(source: Source) -> Answer:
    return _of_run(
        f"one label an image, {listing(list(source.class_names))}, from the data set's folders, "
        "names or table. How they were made it does not know."
    )


def _classes(source: Source) -> str:
    positive = f"; {source.positive} is the positive one" if source.positive else ""
    people = "are not known" if source.subject_is_image else "come from the data"
    return f"Classes {listing(list(source.class_names))}{positive}. Subjects {people}."


def _sample_size(source: Source) -> Answer:
    return _of_run(
        f"{facts.parts_sentence(source)} All that there was was used; how many were needed was "
        "not computed."
    )


def _software(page: _Page) -> Answer:
    found = page["repeatable"]
    if not found["versions"]:
        return AUTHORS, "The versions that trained the run are not in its folder (last.ckpt)."
    versions = [f"{name} {version}" for name, version in found["versions"].items()]
    return FILLED, f"{', '.join(versions)}."


def _devices(page: _Page) -> Answer:
    return AUTHORS, f"Microscope, camera and stain are not in the data. {_software(page)[1]}"


def _selection(source: Source) -> str:
    epoch = facts_training.best_epoch(source)
    return (
        "The epoch of the best macro-F1 on the validation part"
        f"{f' (epoch {epoch})' if epoch else ''}; the test part decided nothing."
    )


def _ensemble(source: Source) -> str:
    views = source.figures.get("tta")
    return f"No ensemble: one network{f', views averaged ({views})' if views else ''}."


def _robustness(page: _Page) -> Answer:
    told = []
    if not page["baselines"].get("none"):
        told.append("size alone and colours alone on the same split")
    if not page["external"].get("none"):
        told.append("external data")
    again = "One seed: `fastleuk cv --seeds 3` repeats it over folds and seeds."
    if not told:
        return AUTHORS, again
    return FILLED, f"{capital(listing(told))}. {again}"


def _explanation(page: _Page) -> Answer:
    heat = page["cells"].get("heat", {})
    if heat.get("verdicts"):
        return FILLED, f"Grad-CAM at {heat['layer']}. {' '.join(heat['verdicts'])}"
    return AUTHORS, str(heat.get("none") or page["cells"].get("none", "Not computed."))


def _external(page: _Page) -> Answer:
    found = page["external"]
    if found.get("none"):
        return AUTHORS, found["none"]
    return FILLED, f"Tested on {listing([each['name'] for each in found['sets']])}; see Other data."


def _demographics(source: Source) -> Answer:
    return ABSENT, f"Age, sex, stage and origin are not in the data. {facts.parts_sentence(source)}"


def _fairness(source: Source) -> Answer:
    if source.subject_is_image:
        return ABSENT, "Nothing is known of the people, so no groups could be compared."
    return ABSENT, (
        "Nothing is known of the people but their identifier, so no groups could be compared. "
        "Scores are shown by subject."
    )


def _parts_performance(source: Source) -> Answer:
    epoch = facts_training.best_epoch(source)
    row = next((row for row in source.rows if row["epoch"] == epoch), {})
    score, loss = row.get("val_f1_macro"), row.get("train_loss")
    if score is None:
        how = "`fastleuk evaluate RUN --part val` gives them."
        return AUTHORS, f"The validation figures are not in the run folder; {how}"
    seen = "" if loss is None else f", training loss {loss:.3f}"
    tested = facts_results.headline_sentence(source)
    return FILLED, f"Validation macro-F1 {score:.3f}{seen}; test: {tested}."


def _accuracy(source: Source) -> str:
    figures = capital(facts_results.headline_sentence(source))
    return f"{figures}. {facts_results.clusters_sentence(source)}"


def _failures(source: Source, page: _Page) -> Answer:
    matrix = source.figures["confusion_matrix"]
    wrong = sum(sum(row) for row in matrix) - sum(row[code] for code, row in enumerate(matrix))
    if not wrong:
        return FILLED, f"Not one of {plural(source.figures['samples'], 'image')} was mistaken."
    text = f"{wrong} of {plural(source.figures['samples'], 'image')} {were(wrong)} mistaken"
    shown = "; the surest mistakes are shown (see Cells)" if page["cells"].get("cells") else ""
    return FILLED, f"{text}{shown}."


def _limits(source: Source) -> Answer:
    told = facts_results.warnings(source) or ["One data set, one split, one seed."]
    return _of_run(" ".join(told))


def _threshold(source: Source) -> str:
    names = listing(list(source.class_names))
    return f"Probabilities of {names}. {decision_sentence(source)}"


def _metrics(source: Source) -> str:
    titles = [each["title"] for each in source.intervals.get("figures", {}).values()]
    figures = capital(listing(titles)) if titles else "Those of test_metrics.json"
    curves = "; ROC and precision-recall curves" if source.positive else ""
    return f"{figures}{curves}; confusion matrix. See Results and Calibration."


def _missing_data(source: Source) -> str:
    if (source.run_dir / SKIPPED).is_file():
        return "Images that could not be read were left out: skipped.csv names them."
    return "Every image could be read; unlabelled ones were not used."


def _clusters(source: Source, page: _Page) -> Answer:
    if page["subjects"].get("none"):
        return ABSENT, page["subjects"]["none"]
    return FILLED, f"By subject, see Subjects. {facts_results.clusters_sentence(source)}"


def _availability(source: Source) -> Answer:
    weights = source.hashes.get("best.safetensors", "not there")
    return _of_run(
        f"weights best.safetensors, SHA-256 {weights[:16]}…; code: fastleuk, Apache-2.0. Where "
        "they can be had is for the authors to say."
    )


_FACTS: dict[str, Callable[[Source], str]] = {
    "preprocessing": facts.preprocessing_sentence,
    "classes": _classes,
    "missing_data": _missing_data,
    "split": lambda s: f"{facts.split_sentence(s)} {facts.parts_sentence(s)}",
    "disjoint": lambda s: facts.disjoint_sentence(s)[1],
    "model": facts_training.model_sentence,
    "initial_weights": facts_training.model_sentence,
    "training": lambda s: (
        f"{facts_training.training_sentence(s)} {facts_training.augmentation_sentence(s)} "
        "One model was trained; fastleuk tuned nothing."
    ),
    "selection": _selection,
    "ensemble": _ensemble,
    "metrics": _metrics,
    "uncertainty": facts_results.clusters_sentence,
    "flow": facts.parts_sentence,
    "accuracy": _accuracy,
    "development": lambda s: f"{facts_training.training_sentence(s)} {facts.parts_sentence(s)}",
    "threshold": _threshold,
    "confusion": lambda s: (
        f"See Results: confusion matrix of {plural(s.figures['samples'], 'image')}."
    ),
    "prediction_code": lambda s: f"From the weights, by fastleuk evaluate. {decision_sentence(s)}",
    "imbalance": facts_training.balance_sentence,
    "parts_compared": facts.parts_sentence,
}

_OF_RUN: dict[str, Callable[[Source], Answer]] = {
    "title": _title,
    "data_source": _data_source,
    "data_availability": _data_source,
    "eligibility": _eligibility,
    "labels": _labels,
    "sample_size": _sample_size,
    "demographics": _demographics,
    "fairness": _fairness,
    "parts_performance": _parts_performance,
    "limits": _limits,
    "availability": _availability,
}

_OF_PAGE: dict[str, Callable[[_Page], Answer]] = {
    "software": _software,
    "devices": _devices,
    "robustness": _robustness,
    "explanation": _explanation,
    "external": _external,
}
