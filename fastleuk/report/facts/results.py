"""What a run says of its results, in plain sentences."""

from __future__ import annotations

from fastleuk.evaluation.baselines.comparison import verdict
from fastleuk.evaluation.intervals.few_subjects import EXACT, WRONG_SUBJECT
from fastleuk.report.numbers import listing, number, plural, whole, with_interval
from fastleuk.report.source import Source


def clusters_sentence(source: Source) -> str:
    """Return over what the intervals are, and how many there were."""
    found = source.intervals
    if not found:
        return "No intervals: the run has no test_predictions.csv."
    counts = found.get("clusters_by_class", {})
    by_class = ", ".join(f"{whole(count)} {name}" for name, count in counts.items())
    over = found["over"]
    text = (
        f"{found['level']:.0%} intervals over {over} ({whole(found['clusters'])}: {by_class}): the "
        f"standard error is that of {whole(found['resamples'])} bootstrap resamples of {over}, "
        "drawn within class, corrected for the size of each class (n / (n − 1)); it is "
        "multiplied by the quantile of Student's t distribution at Satterthwaite's degrees of "
        "freedom. Metrics between 0 and 1 have their interval on the logit scale; it is extended "
        f"to that of the same data with {WRONG_SUBJECT:g} of a wrong subject more in each class."
    )
    if any(figure.get("method") == EXACT for figure in found["figures"].values()):
        text += (
            " Metrics that are equal in all resamples have exact binomial bounds (Clopper–Pearson)."
        )
    if over == "images":
        return (
            f"{text} No subject is known: what people differ by is not in these intervals, and "
            "they are too narrow where several images are of one person."
        )
    fewest = min(counts.values(), default=0)
    if fewest < 2:
        few = plural(fewest, "subject") if fewest else "no subject"
        return f"{text} A class has {few}: how people differ cannot be known from that."
    if fewest < 20:
        return f"{text} They are rough: a class has {plural(fewest, 'subject')}, fewer than 20."
    return text


def headline_sentence(source: Source) -> str:
    """Return macro-F1 and AUC, sensitivity and specificity, with intervals, in a sentence."""
    figures, level = source.intervals.get("figures", {}), source.intervals.get("level", 0.95)
    names = [("f1_macro", "macro-F1"), ("auc", "AUC")]
    names += [("sensitivity", "sensitivity"), ("specificity", "specificity")] * bool(
        source.positive
    )
    told = []
    for name, title in names:
        figure = figures.get(name) or {"estimate": source.figures.get(name)}
        text = with_interval(figure, level) if "low" in figure else number(figure["estimate"])
        told.append(f"{title} {text}")
    return listing(told)


def plain_sentences(source: Source) -> list[str]:
    """Return what sensitivity and specificity mean for a hundred cells."""
    figures, positive = source.intervals.get("figures", {}), source.positive
    if positive is None or len(source.class_names) != 2:
        return []
    (other,) = (name for name in source.class_names if name != positive)
    matrix, code = source.figures["confusion_matrix"], source.class_names.index(positive)
    share = sum(matrix[code]) / max(1, sum(map(sum, matrix)))
    told = []
    for name, of, does in (
        ("sensitivity", f"{positive} cells", f"are called {positive}."),
        ("specificity", f"{other} cells", f"are called {other}."),
        ("precision_positive", f"cells called {positive}",
         f"are {positive}: so in this test, where {hundred(share)} of 100 cells are {positive}; "
         "fewer where it is rarer."),
    ):  # fmt: skip
        figure = figures.get(name)
        if not figure or figure.get("low") is None:
            continue
        low, value, high = (hundred(figure[key]) for key in ("low", "estimate", "high"))
        told.append(f"Of 100 {of}, {value} ({low} to {high}) {does}")
    return told


def hundred(share: float) -> str:
    """Return how many of a hundred a share is; none and all are said only where they are meant.

    >>> hundred(0.957), hundred(1.0), hundred(0.998), hundred(0.9999), hundred(0.0004)
    ('96', '100', '99.8', '99.9', '0.1')
    """
    if round(100 * share) in (0, 100) and share not in (0, 1):
        return f"{min(99.9, max(0.1, round(100 * share, 1))):.1f}"
    return f"{100 * share:.0f}"


def meaning(source: Source, name: str) -> str:
    """Return what a headline figure is, in a few words."""
    positive = source.positive
    ranks = f"how often a cell of {positive} gets a higher score than another cell"
    return {
        "f1_macro": "precision and recall in one, mean of the classes",
        "auc": ranks if positive else "how well the scores rank the classes",
        "sensitivity": f"share of the {positive} cells that are found",
        "specificity": f"share of the other cells that are not called {positive}",
        "balanced_accuracy": "share that is recognised, mean of the classes",
    }[name]


LEAST_VALIDATION_SUBJECTS = 5
"""Subjects of a class in the validation part, below which its choices are unreliable."""


def _unbeaten(source: Source) -> str:
    """Describe the baselines that the network is not shown to beat."""
    baselines = source.figures.get("baselines") or {}
    unbeaten = [each for each in baselines.values() if "none" not in each and not each["beaten"]]
    return " ".join(
        ["The network is not shown to use more than a simple feature.", *map(verdict, unbeaten)]
        if unbeaten
        else []
    )


def _small_validation(source: Source) -> str:
    """Describe a validation part with few subjects of a class."""
    if not source.part("val") or source.by_image or source.subject_is_image:
        return ""
    people: dict[str, set[str]] = {name: set() for name in source.class_names}
    for row in source.part("val"):
        people.setdefault(row["label"], set()).add(row["group"])
    fewest = min(people, key=lambda name: len(people[name]))
    count = len(people[fewest])
    if count >= LEAST_VALIDATION_SUBJECTS:
        return ""
    return (
        f"Few people in the validation part: {plural(count, 'subject')} of the class {fewest}. "
        "The epoch, the temperature and the threshold that were chosen on it may not suit others."
    )


def warnings(source: Source) -> list[str]:
    """List the warnings that stand before any metric."""
    told = []
    if source.synthetic:
        told.append(
            "These are synthetic cells, drawn by a program. The figures show that the machinery "
            "works; they say nothing about leukemia."
        )
    if source.by_image:
        told.append(
            "The split is by image: cells of one person stand in training and test. The figures "
            "say nothing of new people."
        )
    elif source.split and source.subject_is_image:
        told.append(
            "No subject is known, so it cannot be shown that training and test share no person; "
            "the figures may be too good, and the intervals too narrow."
        )
    if source.state.name not in ("ended", "tested"):
        told.append(
            f"The run has not ended ({source.state.progress}): these are not its last figures."
        )
    told += [text for text in (_unbeaten(source), _small_validation(source)) if text]
    counts = source.intervals.get("clusters_by_class", {})
    if source.intervals.get("over") == "subjects" and min(counts.values(), default=99) < 20:
        fewest = min(counts, key=counts.get)
        told.append(
            f"Few people: the test part has {plural(counts[fewest], 'subject')} of the class "
            f"{fewest}. The intervals are wide, and rough."
        )
    return told
