"""From a configuration to its data set, which is made where no folder is named: the demo set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fastleuk.config import DataConfig
from fastleuk.csv_files import is_table
from fastleuk.data.copies.near import tie_lines
from fastleuk.data.dataset import DataSet, load_dataset
from fastleuk.data.left_out import Ignored, left_out_lines
from fastleuk.data.report import note_lines
from fastleuk.errors import ConfigError
from fastleuk.progress import progress_bar
from fastleuk.run_log import say
from fastleuk.shell import quoted


def open_dataset(
    config: DataConfig,
    *,
    report: Callable[[str], None] = say,
    hidden: bool = False,
    notes: bool = True,
    least_classes: int = 2,
) -> DataSet:
    """Find, verify and group the images; the demo set is made where ``config.data`` is empty.

    Args:
        config: Where they are.
        report: Is told where the demo set is, how the data were read where that may surprise, and
            how many files of each kind were left out.
        hidden: Draw no progress bar.
        notes: Report what is not used as it stands.
        least_classes: So many must have images; 1 for data that are only scored.

    Raises:
        DataError: the data can't be used; the offending files are listed.
        ConfigError: options that contradict each other.
    """
    root, layout = config.data, config.layout
    if config.split == "folders":
        if layout == "folders":
            raise ConfigError("--split folders and --layout folders contradict each other.")
        layout = "cnmc" if layout == "cnmc" else "parts"
    manifest_root = config.root
    if manifest_root and not is_table(Path(root).expanduser()):
        report(f"note: --root {manifest_root} has no effect: the data are no manifest CSV")
        manifest_root = ""
    if not root:
        from fastleuk.data.demo.generate import demo_root

        with progress_bar("making the synthetic demo set", hidden=hidden) as progress:
            root = str(demo_root(progress=progress))
        report(f"No --data given: using the synthetic demo set in {root}")
    with progress_bar("verifying images", hidden=hidden) as progress:
        dataset = load_dataset(
            root,
            subject_regex=config.subject_regex or None,
            positive=config.positive,
            layout=layout,
            class_level=config.class_level,
            subject_level=config.subject_level,
            manifest_root=manifest_root or None,
            skip_bad=config.skip_bad,
            least_classes=least_classes,
            progress=progress,
        )
    for remark in dataset.remarks:
        report(f"{remark}.")
    copies = [i for same in dataset.identical for i in same.surplus]
    left_out = [
        *(() if dataset.manifest.synthetic else dataset.ignored),  # the demo set's own README
        *(Ignored(path, "it can't be used (--skip-bad)", reason) for path, reason in dataset.bad),
        *(Ignored(dataset.found.paths[i], "a copy of another image") for i in copies),
    ]
    for line in left_out_lines(left_out, root, _options(config)):
        report(line)
    for line in tie_lines(dataset.manifest, dataset.near, dataset.groups):
        report(f"note: {line}.")
    if notes:
        for line in note_lines(dataset):
            report(line)
    return dataset


def _options(config: DataConfig) -> str:
    """Return the options with which ``fastleuk data`` reads the data in the same way."""
    given = {
        "--layout": config.layout if config.layout != "auto" else "",
        "--split": config.split if config.split == "folders" else "",
        "--class-level": str(config.class_level or ""),
        "--subject-level": str(config.subject_level or ""),
        "--root": config.root,
        "--subject-regex": config.subject_regex,
    }
    words = [f"{name} {quoted(value)}" for name, value in given.items() if value]
    return " ".join([*words, *(["--skip-bad"] if config.skip_bad else [])])
