"""What a run answers to the items of the checklists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastleuk.report import facts, facts_results, facts_training
from fastleuk.report.numbers import listing, plural
from fastleuk.report.source import Source

FILLED, ABSENT, AUTHORS = "filled", "absent", "authors"
Answer = tuple[str, str]
"""Status and text."""


def answers(source: Source, page: dict[str, Any]) -> dict[str, Answer]:
    """Answer every question that the checklists ask of the run.

    Args:
        source: The run.
        page: What the page tells, by section: what is missing there is not claimed here.
    """
    return {name: answer(source, page) for name, answer in _ANSWERS.items()}


def _fact(text: Callable[[Source], str]) -> Callable[[Source, dict[str, Any]], Answer]:
    return lambda source, _page: (FILLED, text(source))


def _fixed(status: str, text: str) -> Callable[[Source, dict[str, Any]], Answer]:
    return lambda _source, _page: (status, text)


def _title(source: Source, _: dict[str, Any]) -> Answer:
    return AUTHORS, (
        f"Of the run: deep learning, {facts_training.model_sentence(source)} "
        f"{facts_results.headline_sentence(source)}."
    )


def _data_source(source: Source, _: dict[str, Any]) -> Answer:
    if source.synthetic:
        return FILLED, "Synthetic cells drawn by fastleuk; no patient is behind them."
    where = source.config["data"].get("data")
    content = source.figures.get("data", "not known")
    return (
        AUTHORS,
        f"Of the run: the data in {where}, content {content[:16]}…; their origin is not known to it.",
    )


def _eligibility(source: Source, _: dict[str, Any]) -> Answer:
    return AUTHORS, (
        "Of the run: every labelled image that could be read was used, copies of another image "
        f"left out ({facts.parts_sentence(source)})"
    )


def _labels(source: Source, _: dict[str, Any]) -> Answer:
    return AUTHORS, (
        f"Of the run: one label an image, {listing(list(source.class_names))}, from the data "
        "set's folders, names or table. How they were made it does not know."
    )


def _classes(source: Source, _: dict[str, Any]) -> Answer:
    text = f"Classes {listing(list(source.class_names))}"
    text += f"; {source.positive} is the positive one" if source.positive else ""
    return (
        FILLED,
        f"{text}. Subjects {'are not known' if source.subject_is_image else 'come from the data'}.",
    )


def _sample_size(source: Source, _: dict[str, Any]) -> Answer:
    return (
        AUTHORS,
        f"Of the run: {facts.parts_sentence(source)} All that there was was used; how many were needed was not computed.",
    )


def _disjoint(source: Source, _: dict[str, Any]) -> Answer:
    return FILLED, facts.disjoint_sentence(source)[1]


def _software(source: Source, page: dict[str, Any]) -> Answer:
    found = page["repeatable"]
    versions = found["versions"] or found["here"]
    told = ", ".join(f"{name} {version}" for name, version in versions.items())
    return FILLED, f"{told}."


def _devices(source: Source, page: dict[str, Any]) -> Answer:
    return (
        AUTHORS,
        f"Microscope, camera and stain are not in the data. Software: {_software(source, page)[1]}",
    )


def _selection(source: Source, _: dict[str, Any]) -> Answer:
    epoch = facts_training.best_epoch(source)
    which = f" (epoch {epoch})" if epoch else ""
    return (
        FILLED,
        f"The epoch of the best macro-F1 on the validation part{which}; the test part decided nothing.",
    )


def _ensemble(source: Source, _: dict[str, Any]) -> Answer:
    views = source.figures.get("tta")
    return FILLED, f"None: one network{f', views averaged ({views})' if views else ''}."


def _robustness(source: Source, page: dict[str, Any]) -> Answer:
    told = []
    if not page["baselines"].get("none"):
        told.append("size alone and colours alone on the same split")
    if not page["external"].get("none"):
        told.append("external data")
    if not told:
        return AUTHORS, "One run, one seed: fastleuk cv --seeds 3 repeats it over folds and seeds."
    return FILLED, f"{listing(told).capitalize()}. One seed: fastleuk cv --seeds 3 repeats it."


def _explanation(source: Source, page: dict[str, Any]) -> Answer:
    heat = page["cells"].get("heat", {})
    if not heat.get("verdicts"):
        why = heat.get("none") or page["cells"].get("none", "not computed")
        return AUTHORS, str(why)
    return FILLED, f"Grad-CAM at {heat['layer']}. {' '.join(heat['verdicts'])}"


def _external(source: Source, page: dict[str, Any]) -> Answer:
    found = page["external"]
    if found.get("none"):
        return AUTHORS, found["none"]
    return FILLED, f"Tested on {listing([each['name'] for each in found['sets']])}; see Other data."


def _flow(source: Source, _: dict[str, Any]) -> Answer:
    return FILLED, facts.parts_sentence(source)


def _demographics(source: Source, _: dict[str, Any]) -> Answer:
    return ABSENT, f"Age, sex, stage and origin are not in the data. {facts.parts_sentence(source)}"


def _parts_performance(source: Source, _: dict[str, Any]) -> Answer:
    epoch = facts_training.best_epoch(source)
    row = next((row for row in source.rows if row["epoch"] == epoch), None)
    if row is None or row.get("val_f1_macro") is None:
        return (
            AUTHORS,
            "The validation figures are not in the run folder; fastleuk evaluate RUN --part val gives them.",
        )
    loss = row.get("train_loss")
    seen = "" if loss is None else f", training loss {loss:.3f}"
    return (
        FILLED,
        f"Validation macro-F1 {row['val_f1_macro']:.3f}{seen}; test: {facts_results.headline_sentence(source)}.",
    )


def _accuracy(source: Source, _: dict[str, Any]) -> Answer:
    return (
        FILLED,
        f"{facts_results.headline_sentence(source)}. {facts_results.clusters_sentence(source)}",
    )


def _failures(source: Source, page: dict[str, Any]) -> Answer:
    wrong = sum(sum(row) for row in source.figures["confusion_matrix"]) - sum(
        row[code] for code, row in enumerate(source.figures["confusion_matrix"])
    )
    text = f"{plural(wrong, 'image')} of {source.figures['samples']} were taken for another class"
    shown = page["cells"].get("cells")
    return FILLED, f"{text}{'; the most confident ones are shown' if shown else ''}."


def _limits(source: Source, _: dict[str, Any]) -> Answer:
    told = facts_results.warnings(source) or ["One data set, one split, one seed."]
    return AUTHORS, f"Of the run: {' '.join(told)}"


def _threshold(source: Source, _: dict[str, Any]) -> Answer:
    return (
        FILLED,
        f"Probabilities of {listing(list(source.class_names))}; {source.decision.sentence}.",
    )


def _metrics(source: Source, _: dict[str, Any]) -> Answer:
    titles = [each["title"] for each in source.intervals.get("figures", {}).values()]
    return FILLED, (
        f"{listing(titles) if titles else 'Those of test_metrics.json'}; ROC and precision-recall "
        "curves, reliability, decision curve, confusion matrix."
    )


def _missing_data(source: Source, _: dict[str, Any]) -> Answer:
    left = (source.run_dir / "skipped.csv").is_file()
    text = "Images that could not be read were left out: skipped.csv names them." if left else (
        "Every image could be read; unlabelled ones were not used.")  # fmt: skip
    return FILLED, text


def _fairness(source: Source, _: dict[str, Any]) -> Answer:
    return (
        ABSENT,
        "Nothing is known of the people but their identifier, so no group could be compared. Errors are shown by subject.",
    )


def _clusters(source: Source, page: dict[str, Any]) -> Answer:
    if page["subjects"].get("none"):
        return ABSENT, page["subjects"]["none"]
    return FILLED, f"By subject, see Subjects. {facts_results.clusters_sentence(source)}"


def _parts_compared(source: Source, _: dict[str, Any]) -> Answer:
    return FILLED, facts.parts_sentence(source)


def _availability(source: Source, _: dict[str, Any]) -> Answer:
    weights = source.hashes.get("best.safetensors", "not there")
    return (
        AUTHORS,
        f"Of the run: weights best.safetensors, SHA-256 {weights[:16]}…; code: fastleuk, Apache-2.0. Where they can be had is for the authors to say.",
    )


_ANSWERS: dict[str, Callable[[Source, dict[str, Any]], Answer]] = {
    "title": _title,
    "design": _fixed(AUTHORS, "Of the run: the images were there before the network was made (retrospective)."),
    "goal": _fixed(FILLED, "A model was made, and tested on a part of the data that was held out."),
    "data_source": _data_source,
    "eligibility": _eligibility,
    "preprocessing": _fact(facts.preprocessing_sentence),
    "subsets": _fixed(FILLED, "None but the parts of the split: whole images, no regions chosen by hand."),
    "classes": _classes,
    "missing_data": _missing_data,
    "labels": _labels,
    "sample_size": _sample_size,
    "split": _fact(lambda s: f"{facts.split_sentence(s)} {facts.parts_sentence(s)}"),
    "disjoint": _disjoint,
    "model": _fact(facts_training.model_sentence),
    "software": _software,
    "initial_weights": _fact(facts_training.model_sentence),
    "training": _fact(
        lambda s: f"{facts_training.training_sentence(s)} Augmentation: "
        f"{facts_training.augmentation_sentence(s)} One model; nothing was tuned by fastleuk."
    ),
    "selection": _selection,
    "ensemble": _ensemble,
    "metrics": _metrics,
    "uncertainty": _fact(facts_results.clusters_sentence),
    "robustness": _robustness,
    "explanation": _explanation,
    "external": _external,
    "flow": _flow,
    "demographics": _demographics,
    "parts_performance": _parts_performance,
    "accuracy": _accuracy,
    "failures": _failures,
    "limits": _limits,
    "protocol": _fixed(AUTHORS, "Of the run: config.toml, policy.toml and split.csv say what was done; whether it was planned so, they do not."),
    "devices": _devices,
    "development": _fact(lambda s: f"{facts_training.training_sentence(s)} {facts.parts_sentence(s)}"),
    "threshold": _threshold,
    "blinding": _fixed(FILLED, "The network was shown pixels alone: no label, name or clinical fact."),
    "indeterminate": _fixed(FILLED, "There are none: every image gets a class and a probability."),
    "fairness": _fairness,
    "representative": _fixed(AUTHORS, "A run cannot know for whom it is meant."),
    "confusion": _fact(lambda s: f"See Results: confusion matrix of {s.figures['samples']} images."),
    "predictors": _fixed(FILLED, "The pixels of the image, and nothing else."),
    "no_measuring": _fixed(FILLED, "Nobody: pixels are read by a program."),
    "clusters": _clusters,
    "updating": _fixed(FILLED, "None after the test: temperature and threshold, if any, are of the validation part."),
    "prediction_code": _fact(lambda s: f"fastleuk evaluate {s.run_dir} repeats them from the weights; {s.decision.sentence}."),
    "imbalance": _fact(facts_training.balance_sentence),
    "parts_compared": _parts_compared,
    "availability": _availability,
    "data_availability": _data_source,
    "code_availability": _fixed(FILLED, "fastleuk, Apache-2.0; the run folder holds the settings."),
    "audit": _fixed(FILLED, "Yes: test_predictions.csv has every image's probabilities; files have hashes."),
    "bad_input": _fixed(FILLED, "Files that are no 8-bit RGB image are refused or told of; blurred or foreign cells are not recognised as such."),
}  # fmt: skip
