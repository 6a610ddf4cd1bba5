"""What a run trains, on what and how: all that is decided before anything is built."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastleuk.augment import AugmentPolicy
from fastleuk.config import Config
from fastleuk.data.dataset import DataSet
from fastleuk.data.split.file import write_split
from fastleuk.data.split.make import Split
from fastleuk.errors import DataError
from fastleuk.files import write_rows, write_text
from fastleuk.loading.prepare import Pixels, open_pixels
from fastleuk.models.device import Precision
from fastleuk.models.kept import keep_backbone
from fastleuk.models.seen_images import NO_IMAGES, SeenImages
from fastleuk.run_folder.identity import flat
from fastleuk.run_folder.names import CONFIG, POLICY, SKIPPED, SPLIT
from fastleuk.run_folder.state import BEGUN, set_mark
from fastleuk.run_log import open_log
from fastleuk.training.checkpoint.agreement import SAME_PROCESSES
from fastleuk.training.distributed.ranks import Ranks
from fastleuk.training.starting_weights import save_start

Report = Callable[[str], None]


@dataclass
class RunPlan:
    """A run about to begin or to go on.

    Attributes:
        config: Definite, see :func:`fastleuk.training.resolve.config.resolve_config`.
        policy: The augmentation.
        dataset: The images.
        split: Their parts.
        precision: Device and autocast dtype.
        report: Takes what is printed.
        ranks: This process among those of the run.
        start: Images that the starting weights were trained and chosen on.
    """

    config: Config
    policy: AugmentPolicy
    dataset: DataSet
    split: Split
    precision: Precision
    report: Report
    ranks: Ranks
    start: SeenImages = NO_IMAGES

    @property
    def run_dir(self) -> Path:
        """The run folder."""
        return Path(self.config.run.out)

    @property
    def identity(self) -> dict[str, Any]:
        """What a checkpoint must agree with to be resumed here, by flat keys."""
        parts = self.split.parts.astype(np.int8).tobytes()
        return {
            "data": self.dataset.content_hash,
            "split": hashlib.sha256(parts).hexdigest(),
            "classes": "/".join(self.dataset.manifest.class_names),
            "processes": self.ranks.world_size,
            "precision": str(self.precision.dtype),
            **flat(dataclasses.asdict(self.config)),
            **flat({"policy": self.policy.to_dict()}),
        }

    def require_same_everywhere(self) -> None:
        """Refuse processes that plan different runs.

        Raises:
            ConfigError: names what differs.
        """
        same = {**self.identity, "device": self.precision.device.type}
        self.ranks.require_same({k: str(v) for k, v in same.items() if k not in SAME_PROCESSES})

    def open_pixels(self, *, resuming: bool) -> Pixels | None:
        """Open the decoded cache, or settle for the files; a resumed run takes what it had.

        Raises:
            DataError: the run was trained from a cache that can't be had any more.
        """
        config = self.config.loader
        pixels = self.ranks.in_turns(
            lambda: open_pixels(self.dataset, config, self.precision.device, report=self.report)
        )
        if not self.ranks.everywhere(pixels is not None):
            pixels = None
        if pixels is None and config.cache != "off":
            if resuming:
                raise DataError(
                    f"{self.run_dir} was trained from a decoded cache, whose augmented images "
                    "differ by a little from the files'. Make room for it, or build it with "
                    "fastleuk prepare, and resume then."
                )
            off = dataclasses.replace(config, cache="off")
            self.config = dataclasses.replace(self.config, loader=off)
        return pixels

    def write(self) -> None:
        """Write it into the run folder, the configuration last.

        Raises:
            DataError: it can't be written.
        """
        run_dir = self.run_dir
        try:
            open_log(self.report, run_dir)
            write_text(run_dir / POLICY, self.policy.to_toml())
            write_split(self.split, self.dataset.manifest, run_dir / SPLIT, self.dataset.sha256)
            if self.dataset.bad:
                rows = [{"path": path, "reason": reason} for path, reason in self.dataset.bad]
                write_rows(run_dir / SKIPPED, rows)
            save_start(run_dir, self.start)
            keep_backbone(run_dir, self.config.model.backbone)
            set_mark(run_dir, BEGUN)
            write_text(run_dir / CONFIG, self.config.to_toml())
        except OSError as error:
            raise DataError(
                f"Can't write the run folder {run_dir}: {error}. Choose --out."
            ) from error
