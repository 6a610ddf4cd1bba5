"""What a run says of its results, in plain sentences."""

from __future__ import annotations

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
        f"{found['level']:.0%} intervals are by a bootstrap over {over} "
        f"({whole(found['clusters'])}: {by_class}), drawn within class, with "
        f"{whole(found['resamples'])} resamples."
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
    figures = source.intervals.get("figures", {})
    if source.positive is None or len(source.class_names) != 2:
        return []
    (other,) = (name for name in source.class_names if name != source.positive)
    told = []
    for name, mine, does in (
        ("sensitivity", source.positive, f"are called {source.positive}"),
        ("specificity", other, f"are called {other}"),
    ):
        figure = figures.get(name)
        if not figure or figure.get("low") is None:
            continue
        low, value, high = (round(100 * figure[key]) for key in ("low", "estimate", "high"))
        told.append(f"Of 100 {mine} cells, {value} ({low} to {high}) {does}.")
    return told


def warnings(source: Source) -> list[str]:
    """Return what a reader has to know before any figure."""
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
    counts = source.intervals.get("clusters_by_class", {})
    if source.intervals.get("over") == "subjects" and min(counts.values(), default=99) < 20:
        fewest = min(counts, key=counts.get)
        told.append(
            f"Few people: the test part has {plural(counts[fewest], 'subject')} of the class "
            f"{fewest}. The intervals are wide, and rough."
        )
    return told
