"""A whole configuration: from TOML, recipe and command line, and back to TOML."""

from __future__ import annotations

import dataclasses
import difflib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastleuk import toml
from fastleuk.config.option import one_of
from fastleuk.config.recipes import RECIPES
from fastleuk.config.sections import (
    AugmentConfig,
    DataConfig,
    LoaderConfig,
    ModelConfig,
    OptimConfig,
    RunConfig,
)
from fastleuk.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Tables = Mapping[str, Mapping[str, Any]]


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
        return toml.dumps(dataclasses.asdict(self))

    @classmethod
    def from_toml(cls, text: str, *, where: str = "config") -> Config:
        """Parse TOML; ``where`` names the file in errors.

        Raises:
            ConfigError: not TOML, an unknown section or key (near names are listed), a value of
                the wrong type, or one that makes no sense.
        """
        return cls.from_dict(_parse(text, where), where=where)

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


def read_config(path: Path) -> Config:
    """Read a ``config.toml``.

    Raises:
        ConfigError: the file is missing or not a valid configuration.
    """
    return Config.from_toml(_read(path), where=str(path))


def assemble(given: Tables, *, file: Path | None = None, preset: Tables | None = None) -> Config:
    """Lay what was ``given`` over the ``file``, that over the recipe, that over the defaults.

    The recipe is the one that ``given`` names, else the file's, else the paper's.

    Args:
        given: Values by section and field, such as those of the command line.
        file: A TOML file with all or some of the keys.
        preset: Defaults of a protocol, over the recipe's and under the file.

    Raises:
        ConfigError: see :meth:`Config.from_toml`.
    """
    tables: Tables = {}
    if file is not None:
        tables = _parse(_read(file), str(file))
        Config.from_dict(tables, where=str(file))
    recipe = "paper"
    for layer in (tables, given):
        recipe = layer.get("run", {}).get("recipe", recipe)
    one_of("recipe", recipe, RECIPES)
    merged: dict[str, dict[str, Any]] = {"run": {"recipe": recipe}}
    for layer in (RECIPES[recipe], preset or {}, tables, given):
        for section, values in layer.items():
            merged.setdefault(section, {}).update(values)
    return Config.from_dict(merged, where="the options")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"Can't read the configuration {path}: {error}.") from error


def _parse(text: str, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where} is not valid TOML: {error}.") from error


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
