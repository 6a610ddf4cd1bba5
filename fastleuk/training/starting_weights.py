"""Starting weights that have learned from the test part: refused, or reported."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path

from fastleuk.config import Config
from fastleuk.data.dataset import DataSet
from fastleuk.data.split.parts import Split
from fastleuk.errors import DataError
from fastleuk.files import write_json
from fastleuk.models.seen_images import (
    NO_IMAGES,
    SeenImages,
    from_json,
    read_seen_images,
    starting_file,
)
from fastleuk.run_folder.names import START

Report = Callable[[str], None]


def check_starting_weights(
    config: Config, dataset: DataSet, split: Split, report: Report
) -> SeenImages:
    """Compare the test part with the images of the starting weights.

    Args:
        config: Names backbone and weights.
        dataset: The images.
        split: Their parts.
        report: Takes notes.

    Returns:
        The images that the starting weights were trained and chosen on.

    Raises:
        DataError: test images are among them.
    """
    file = starting_file(config.model.backbone, config.model.weights)
    seen = read_seen_images(file) if file is not None else None
    if seen is None or not dataset.pixels:
        return NO_IMAGES
    if not seen.complete:
        report(
            f"note: --weights {file}: written by fastleuk without a complete record of the images "
            "that it was trained on. If this test part is among them, its figures flatter."
        )
    pixels = dataset.pixels
    known = {
        part: [row for row in split.indices(part).tolist() if pixels[row]]
        for part in ("test", "val")
    }
    shared = {
        part: [row for row, there in zip(rows, seen.contain(pixels[r] for r in rows), strict=True)
               if there]
        for part, rows in known.items()
    }  # fmt: skip
    tested = len(split.indices("test"))
    if shared["test"]:
        same = (
            f"With {seen.split} the same data have the parts of that run. Else take"
            if seen.split
            else "Draw the parts of that run, or take"
        )
        raise DataError(
            f"--weights {file}: trained or chosen on {len(shared['test'])} of the {tested} test "
            f"images, such as {dataset.manifest.paths[shared['test'][0]]}, so that a test would be "
            f"none. {same} other weights, such as those that they began with."
        )
    if shared["val"]:
        report(
            f"note: --weights {file}: trained or chosen on {len(shared['val'])} of the "
            f"{len(split.indices('val'))} validation images: their figures, by which the best "
            "epoch is chosen, flatter. No test image is among them."
        )
    return seen


def seen_by_run(start: SeenImages, config: Config, dataset: DataSet, split: Split) -> SeenImages:
    """Add a run's own training and validation images to those of its starting weights."""
    rows = [*split.indices("train").tolist(), *split.indices("val").tolist()]
    pixels = (dataset.pixels[row] for row in rows if dataset.pixels)
    return start.and_those_of(pixels, split_options(config, split))


def split_options(config: Config, split: Split) -> str:
    """Format the options that draw a split again."""
    words = ["--split", shlex.quote(split.mode), "--seed", str(split.seed)]
    words += ["--val-fraction", f"{config.data.val_fraction:g}"]
    if split.mode in ("subject", "image"):
        words += ["--test-fraction", f"{config.data.test_fraction:g}"]
    return " ".join(words)


def save_start(run_dir: Path, start: SeenImages) -> None:
    """Save what the starting weights have seen, for a resumed run, which need not have them."""
    if len(start.hashes) or not start.complete:
        write_json(run_dir / START, start.as_json())


def load_start(run_dir: Path) -> SeenImages:
    """Load what :func:`save_start` saved."""
    file = run_dir / START
    return from_json(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else NO_IMAGES
