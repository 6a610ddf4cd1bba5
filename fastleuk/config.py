"""Configuration of a training run: one frozen dataclass for each concern, TOML in and out.

Defaults are those of "Transfer Learning with EfficientNet for Accurate Leukemia Cell
Classification" (Ahmed, 2025) unless the docstring under a field says otherwise.
"""

from __future__ import annotations

import dataclasses
import difflib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastleuk.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

LOADERS = ("auto", "dali", "torchvision")
APPLIERS = ("auto", "fused", "exact")
DEVICES = ("auto", "cpu", "cuda")


def _require(ok: bool, option: str, value: object, rule: str) -> None:
    if not ok:
        raise ConfigError(f"{option} is {value!r}, but {rule}.")


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """Which images, and how they are divided."""

    data: str = ""
    """Folder or manifest CSV; empty for the synthetic demo set."""
    subject_regex: str = ""
    """Regular expression whose group is the subject, for plain class folders."""
    split: str = "subject"
    """``subject``, ``fold:K`` or ``image`` (the paper's; it leaks subjects)."""
    val_fraction: float = 0.1
    test_fraction: float = 0.1
    skip_bad: bool = False
    """Train without unreadable files instead of stopping at them."""

    def __post_init__(self) -> None:
        for name in ("val_fraction", "test_fraction"):
            value = getattr(self, name)
            _require(
                0 < value < 1, f"--{name.replace('_', '-')}", value, "must lie between 0 and 1"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class AugmentConfig:
    """What is drawn for an epoch."""

    augment: str = "paper"
    """Name of a policy (``paper``, ``flips-rotations``, ``none``) or a policy's TOML file."""
    per_class: str = "off"
    """Samples a class and epoch: a number (the paper: 10000) or ``auto`` (as many as the largest
    class has), reached by augmented copies beside the un-augmented originals; or ``off``, every
    image once. The default departs from the paper: where one class has a larger share of
    augmented samples than another, a network learns the class from the augmentation."""
    originals: float = 0.5
    """Share of each class that passes un-augmented under ``per_class = "off"``, chosen anew in
    each epoch. Without any, batch normalisation knows augmented images only, and its statistics
    are wrong for the un-augmented ones of validation and test. (The paper's share is 0.56.)"""
    frozen_augmentation: bool = False
    """Repeat the first epoch's augmentations in every epoch, as files on disk would."""
    applier: str = "auto"
    """How DALI applies them: ``fused`` (fast), ``exact`` (one operator a step, torchvision's
    rounding), or ``auto``: fused where the policy interpolates bilinearly."""

    def __post_init__(self) -> None:
        _require(self.applier in APPLIERS, "--applier", self.applier, f"must be one of {APPLIERS}")
        _require(0 <= self.originals <= 1, "--originals", self.originals, "must be from 0 to 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class LoaderConfig:
    """How images reach the model."""

    loader: str = "auto"
    """``dali``, ``torchvision`` or ``auto``: DALI where it is installed."""
    size: int = 224
    batch_size: int = 32
    workers: int = 0
    """Decoding threads (DALI) or processes (torchvision); 0 for one a core, at most 16."""
    prefetch: int = 2
    """Batches made ahead: by the pipeline (DALI) or by each worker (torchvision)."""
    cache: str = "auto"
    """Decoded images: ``auto`` (the user's cache folder, built where it is not too large), ``gpu``
    (the same, held in GPU memory if it fits), ``off``, or a folder."""

    def __post_init__(self) -> None:
        _require(self.loader in LOADERS, "--loader", self.loader, f"must be one of {LOADERS}")
        _require(self.size >= 16, "--size", self.size, "must be at least 16 pixels")
        _require(self.batch_size >= 1, "--batch-size", self.batch_size, "must be at least 1")
        _require(self.workers >= 0, "--workers", self.workers, "must be 0 (automatic) or more")
        _require(self.prefetch >= 1, "--prefetch", self.prefetch, "must be at least 1")
        _require(bool(self.cache), "--cache", self.cache, "must be auto, gpu, off or a folder")


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """Which network, and where its weights come from."""

    backbone: str = "efficientnet_b3"
    """Any timm model name."""
    weights: str = "hub"
    """``hub`` (timm's pretrained weights), ``bundled``, ``none``, or a weights file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimConfig:
    """How the model is trained."""

    epochs: int = 50
    patience: int = 15
    """Epochs without a better validation macro-F1 before training stops."""
    lr: float = 1e-4
    amp: bool = False
    """Mixed precision: bfloat16 or float16 on a GPU, bfloat16 on a CPU that has it."""

    def __post_init__(self) -> None:
        _require(self.epochs >= 1, "--epochs", self.epochs, "must be at least 1")
        _require(self.patience >= 1, "--patience", self.patience, "must be at least 1")
        _require(0 < self.lr < 10, "--lr", self.lr, "must lie between 0 and 10")


@dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig:
    """Where and on what the run happens."""

    out: str = ""
    """Run folder; empty for ``runs/<date>-<time>-<backbone>``."""
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        _require(self.seed >= 0, "--seed", self.seed, "must be 0 or more")
        _require(
            self.device in DEVICES or self.device.startswith("cuda:"),
            "--device",
            self.device,
            f"must be one of {DEVICES} or cuda:N",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Everything that defines a run; ``config.toml`` in the run folder holds it resolved."""

    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    loader: LoaderConfig = field(default_factory=LoaderConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def to_toml(self) -> str:
        """Return the configuration as TOML, a table for each section."""
        import tomli_w

        return tomli_w.dumps(dataclasses.asdict(self))

    @classmethod
    def from_toml(cls, text: str, *, where: str = "config") -> Config:
        """Parse TOML; ``where`` names the file in errors.

        Raises:
            ConfigError: not TOML, an unknown section or key (near names are listed), a value of
                the wrong type, or one that makes no sense.
        """
        try:
            tables = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{where} is not valid TOML: {error}.") from error
        return cls.from_dict(tables, where=where)

    @classmethod
    def from_dict(cls, tables: Mapping[str, Any], *, where: str = "config") -> Config:
        """Build a configuration from nested tables; see :meth:`from_toml`."""
        sections = {f.name: f.default_factory for f in dataclasses.fields(cls)}
        _known(tables, list(sections), f"section of {where}")
        built: dict[str, Any] = {}
        for name, values in tables.items():
            if not isinstance(values, Mapping):
                raise ConfigError(f"[{name}] in {where} must be a table, found {values!r}.")
            built[name] = _section(sections[name], values, f"[{name}] in {where}")
        return cls(**built)


def _known(found: Mapping[str, Any], known: list[str], what: str) -> None:
    for key in found:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=3, cutoff=0.5) or known
            raise ConfigError(f"Unknown {what}: {key!r}. Near names: {', '.join(near)}.")


def _section(section: Any, values: Mapping[str, Any], where: str) -> Any:
    defaults = {f.name: f.default for f in dataclasses.fields(section)}
    _known(values, list(defaults), f"key of {where}")
    typed = {}
    for key, value in values.items():
        kind = type(defaults[key])
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind:
            raise ConfigError(f"{key} of {where} must be {kind.__name__}, found {value!r}.")
        typed[key] = value
    return section(**typed)


def read_config(path: Path) -> Config:
    """Read a ``config.toml``.

    Raises:
        ConfigError: the file is missing or not a valid configuration.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"Can't read the configuration {path}: {error}.") from error
    return Config.from_toml(text, where=str(path))
