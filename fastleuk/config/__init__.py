"""Configuration of a run: one frozen dataclass for each concern, recipes, TOML in and out."""

from fastleuk.config.document import Config, assemble, read_config
from fastleuk.config.recipes import RECIPES
from fastleuk.config.sections import (
    APPLIERS,
    DEVICES,
    LARGEST,
    LOADERS,
    AugmentConfig,
    DataConfig,
    LoaderConfig,
    ModelConfig,
    OptimConfig,
    RunConfig,
)

__all__ = [
    "APPLIERS",
    "DEVICES",
    "LARGEST",
    "LOADERS",
    "RECIPES",
    "AugmentConfig",
    "Config",
    "DataConfig",
    "LoaderConfig",
    "ModelConfig",
    "OptimConfig",
    "RunConfig",
    "assemble",
    "read_config",
]
