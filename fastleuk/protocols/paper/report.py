"""The Markdown of the paper's table."""

from __future__ import annotations

from typing import Any

from fastleuk.data.labels.positive import no_positive
from fastleuk.protocols.comparisons import format_comparisons
from fastleuk.protocols.figures import SYNTHETIC, notes_list, percent
from fastleuk.protocols.gaps import format_gaps
from fastleuk.protocols.paper.published import PUBLISHED, SOURCE, Published
from fastleuk.tables import markdown_table

LEFT = {"image": "ours, by image", "subject": "ours, by subject"}


def class_average(result: dict[str, Any]) -> str:
    """Return the suffix of the figures that compare with the published ones."""
    return "positive" if result["positive_class"] is not None else "macro"


def all_rows(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of table and picture: the backbones, then what sees colours alone."""
    return [*result["rows"], result["shortcut"]]


def format_paper(result: dict[str, Any]) -> str:
    """Lay out what ``paper.json`` holds as Markdown."""
    parts = ["# The paper's table" + (" in miniature" if result["quick"] else "")]
    if result["synthetic"]:
        parts.append(SYNTHETIC)
    parts.append(_what(result))
    of = result["positive_class"] or "macro"
    parts += [f"## Test figures in percent; precision, recall and F1: {of}", _table(result)]
    others = [p for name, p in PUBLISHED.items() if name not in _compared(result)]
    if others and len(others) == len(PUBLISHED):
        parts.append("Published, of other backbones on C-NMC 2019, split by image:")
        parts.append(_published_table(others))
    parts += ["## The split by subject against the split by image", _gaps(result)]
    parts += ["## Each against each", *_against(result)]
    parts += ["## What was run, and what the figures mean", notes_list(_notes(result))]
    return "\n\n".join(parts) + "\n"


def _compared(result: dict[str, Any]) -> set[str]:
    return {row["backbone"].split(".")[0] for row in result["rows"]}


def _what(result: dict[str, Any]) -> str:
    data, config, seeds = result["data"], result["config"], result["seeds"]
    many = f"{len(result['rows'])} backbones, each" if len(result["rows"]) > 1 else "One backbone,"
    return (
        f"{data['images']} labelled images of {data['subjects']} subjects in `{data['root']}`. "
        f"{many} trained on a split by image (the paper's) and on "
        f"one by subject, seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}: "
        f"{len(result['runs'])} runs of at most {config['optim']['epochs']} epochs at "
        f"{config['loader']['size']} pixels."
    )


def _cells(figures: dict[str, Any], names: list[str]) -> list[str]:
    return [percent(figures[name]["mean"], figures[name]["sd"]) for name in names]


def _table(result: dict[str, Any]) -> str:
    average = class_average(result)
    like = ["accuracy", *(f"{name}_{average}" for name in ("precision", "recall", "f1")), "auc"]
    more = ["f1_macro", "f1_weighted", "balanced_accuracy"]
    head = ["Model", "split", "Accuracy", "Precision", "Recall", "F1", "AUC"]
    head += ["macro-F1", "weighted F1", "balanced accuracy"]
    rows = []
    for row in all_rows(result):
        if row["published"]:
            rows.append(
                [row["name"], "published, by image", *_published(Published(**row["published"]))]
                + ["–"] * len(more)
            )
        for split, left in LEFT.items():
            rows.append([row["name"], left, *_cells(row[split], like + more)])
    return markdown_table(head, rows)


def _published(row: Published) -> list[str]:
    return [percent(value) for value in (row.accuracy, row.precision, row.recall, row.f1, row.auc)]


def _published_table(rows: list[Published]) -> str:
    head = ["Model", "Accuracy", "Precision", "Recall", "F1", "AUC"]
    return markdown_table(head, [[row.name, *_published(row)] for row in rows])


def _gaps(result: dict[str, Any]) -> str:
    average = class_average(result)
    names = {f"f1_{average}": f"F1 of {result['positive_class']}", "f1_macro": "macro-F1"}
    names |= {"auc": "AUC", "balanced_accuracy": "balanced accuracy"}
    if average == "macro":
        names = {name: "macro-F1" if name == "f1_macro" else t for name, t in names.items()}
    return format_gaps(all_rows(result), names, len(result["seeds"]))


def _against(result: dict[str, Any]) -> list[str]:
    parts = []
    for split, found in result["comparisons"].items():
        parts += [f"Split by {split}:", format_comparisons(found)]
    if len(result["seeds"]) > 1:
        parts.append(
            "The test images of all seeds are taken together, each said by the network of its "
            "seed; a subject that several seeds test is one. These are comparisons of the networks "
            "as trained."
        )
    return parts


def _notes(result: dict[str, Any]) -> list[str]:
    config, seeds = result["config"], result["seeds"]
    weights = ", ".join(f"{row['backbone']} {row['weights']}" for row in result["rows"])
    optim, data = config["optim"], config["data"]
    tested = {
        split: f"{min(s['samples']['seeds'])} images of {min(s['subjects']['seeds'])} subjects"
        for split, s in ((split, result["rows"][0][split]) for split in LEFT)
    }
    notes = [
        f"Run: weights {weights}; {config['augment']['per_class']} samples a class and epoch; "
        f"learning rate {optim['lr']:g}, batches of {config['loader']['batch_size']}, at most "
        f"{optim['epochs']} epochs, patience {optim['patience']}.",
        f"Tested on {tested['image']} (by image) and {tested['subject']} (by subject): the two "
        "splits have different test images, and few subjects make the figures by subject swing.",
        f"The test part is {data['test_fraction']:.0%} of the images. Early stopping needs a "
        f"validation part, {data['val_fraction']:.0%}, which is taken from the paper's training "
        "share so that the test part decides nothing.",
        f"Published: {SOURCE}, on C-NMC 2019 split by image. Its precision, recall and F1 fit "
        "the ALL class, not macro averages, so they stand beside ours of that class.",
    ]
    notes.append(
        f"{result['shortcut']['name'].capitalize()}: a forest that is shown seven numbers of an "
        "image, mean and deviation of each colour and the share that isn't black. If it scores "
        "higher by image than by subject, stain and light give subjects away, and a network can "
        "use that as well."
    )
    if len(seeds) > 1:
        notes.append(
            "± is the standard deviation over seeds; a seed changes the split and the training."
        )
    else:
        notes.append("One seed: no deviation is known. --seeds 3 repeats with other splits.")
    if result["positive_class"] is None and len(result["class_names"]) == 2:
        notes.append(no_positive(result["class_names"]))
    if result["quick"]:
        notes.append(
            "The miniature (--quick) trains small networks briefly on small images; its figures "
            "can't be compared with the published ones."
        )
    for split, of_split in result["notes"].items():
        notes += [f"Split by {split}, seed {seeds[0]}: {note}" for note in of_split]
    return notes
