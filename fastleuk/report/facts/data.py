"""What a run says of its data, in plain sentences: for the page, the checklists and the card."""

from __future__ import annotations

from collections.abc import Mapping

from fastleuk.report.numbers import capital, listing, plural, whole
from fastleuk.report.overlap import TITLES, verdict
from fastleuk.report.source import Source

RESEARCH_USE = "Research use only. Not for diagnosis."


def backbone(source: Source) -> str:
    """Return the network's name."""
    return str(source.figures.get("backbone") or source.config["model"]["backbone"])


def data_name(source: Source) -> str:
    """Return the data set's name: that of its folder."""
    if source.synthetic and not source.config["data"].get("data"):
        return "the synthetic demo set"
    where = str(source.config["data"].get("data", "")).rstrip("/")
    return where.rpartition("/")[2] or "the demo set"


def counted(counts: Mapping[str, int], names: tuple[str, ...]) -> str:
    """Return images by class, such as ``404 hem and 849 ALL``."""
    return listing([f"{whole(counts.get(name, 0))} {name}" for name in names])


def part_sentence(source: Source, part: str) -> str:
    """Return the size of a part, such as ``84 images of 8 subjects (28 hem and 56 ALL)``."""
    rows = source.part(part)
    if not rows:
        return "not in split.csv"
    people = len({row["subject"] for row in rows})
    of = "" if source.subject_is_image else f" of {plural(people, 'subject')}"
    by_class = counted(source.counts(part), source.class_names)
    return f"{plural(len(rows), 'image')}{of} ({by_class})"


def parts_sentence(source: Source) -> str:
    """Return the sizes of all parts."""
    told = [f"{title}: {part_sentence(source, part)}" for part, title in TITLES.items()]
    return capital("; ".join(told)) + "."


def split_sentence(source: Source) -> str:
    """Return how the images were shared among the parts."""
    mode = str(source.figures.get("split") or source.config["data"]["split"])
    data, seed = source.config["data"], source.config["run"]["seed"]
    fractions = f"{data['val_fraction']:.0%} validation, {data['test_fraction']:.0%} test"
    if mode == "subject" and source.subject_is_image:
        return (
            "No subject is known, so the images were split as if each were of a person of its own, "
            f"stratified by class ({fractions}); seed {seed}."
        )
    told = {
        "subject": f"by subject, stratified by class ({fractions})",
        "image": f"by image, stratified by class ({fractions}); subjects stand on both sides",
        "folders": "by the data's own train and test folders",
    }
    if mode in told:
        return f"The images were split {told[mode]}; seed {seed}."
    kind, _, which = mode.partition(":")
    if kind == "fold":
        return (
            f"Official fold {which} is the test part; validation is drawn by subject; seed {seed}."
        )
    return (
        f"One of several folds drawn by subject is the test part ({mode}); validation is drawn by "
        f"subject; seed {seed}."
    )


def disjoint_sentence(source: Source) -> tuple[bool, str]:
    """Return whether the parts are separate by subject, and a sentence about it."""
    if not source.split:
        return False, "Not shown: split.csv is not in the run folder."
    return verdict(
        source.split,
        subjects_known=not source.subject_is_image,
        looks=source.figures.get("parts"),
    )


def preprocessing_sentence(source: Source) -> str:
    """Return what is done to an image before the network."""
    size = source.metadata.get("size") or source.config["loader"]["size"]
    text = (
        "Images were decoded to 8-bit RGB with their EXIF orientation applied, and resized to "
        f"{size}×{size} pixels (bilinear, antialiased)"
    )
    if "mean" in source.metadata:
        mean, std = (", ".join(f"{v:.3g}" for v in source.metadata[key]) for key in ("mean", "std"))
        text += f"; they were normalised by mean ({mean}) and standard deviation ({std})"
    return (
        f"{text}. Every file was decoded and checked before training; of identical images one was "
        "kept, and the subjects that identical or near-identical pictures tie stay in one part."
    )
