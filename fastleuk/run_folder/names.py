"""The files of a run folder."""

from __future__ import annotations

CONFIG = "config.toml"
"""The configuration, resolved. Written last of what begins a run: where it is, the rest is."""
POLICY = "policy.toml"
SPLIT = "split.csv"
SKIPPED = "skipped.csv"
METRICS = "metrics.csv"
LAST = "last.ckpt"
BACKBONE = "backbone"
"""Folder with the ``config.json`` of a backbone that isn't timm's own; no other run has it."""
BEST = "best.safetensors"
START = "starting_weights.json"
"""The images that the starting weights were trained and chosen on, where these are known."""
MARK = "run.json"
"""Whether the run has begun, ended or been tested, see :mod:`fastleuk.run_folder.state`."""
LOCK = "run.lock"
"""Held while a process trains or resumes; never removed. Its owner stands in ``run.owner``."""
LOG = "log.txt"
TEST_METRICS = "test_metrics.json"
TEST_PREDICTIONS = "test_predictions.csv"
RESULTS = (TEST_METRICS, TEST_PREDICTIONS)

MARKS = frozenset({CONFIG, POLICY, SPLIT, METRICS, BEST, LAST, *RESULTS})
"""A folder with two of these is a run, whole or not."""

BEGINNING = frozenset(
    {
        CONFIG,
        POLICY,
        SPLIT,
        SKIPPED,
        BACKBONE,
        START,
        MARK,
        LOCK,
        "run.owner",
        LOG,
        "tensorboard",
        "wandb",
    }
)
"""What a run may have left before its first checkpoint: nothing in it is worth keeping."""
