"""What to augment and how strongly: :class:`AugmentPolicy` and its presets.

The arguments bear torchvision's names. Two of torchvision's transforms call an argument
``scale`` and one more ``ratio``; here ``scale`` is ``RandomAffine``'s, and those of
``RandomResizedCrop`` are ``crop_scale`` and ``crop_ratio``.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastleuk import toml
from fastleuk.augment import policy_checks as checks
from fastleuk.augment.policy_checks import Range
from fastleuk.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover
    import tomli as tomllib


_OFF = checks.Unset(0.0)


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class AugmentPolicy:
    """The nine random steps of the paper's chain, in the order in which they are applied.

    A single number stands for a range about the neutral value, as in torchvision:
    ``degrees=25`` is ``(-25, 25)``, ``brightness=0.3`` is ``(0.7, 1.3)``. Every range is
    stored as a pair. ``p_*`` is the probability that the step is applied at all; 0 switches
    it off, and the defaults switch all nine off. torchvision's classes apply a step always where
    they have no such probability: a range without its ``p_*`` would do nothing and is refused.
    Pairs may be tuples, lists or NumPy arrays.

    Raises:
        ConfigError: (a ``ValueError``) on a value that makes no sense, at construction, and on a
            range without its probability or the reverse.
    """

    p_hflip: float = 0.0
    """Probability of a horizontal flip (``RandomHorizontalFlip``)."""
    p_vflip: float = 0.0
    """Probability of a vertical flip (``RandomVerticalFlip``)."""
    p_rotation: float = _OFF
    degrees: float | Range = _OFF
    """``RandomRotation``: angle in degrees, counter-clockwise."""
    p_jitter: float = _OFF
    brightness: float | Range = _OFF
    """``ColorJitter``: factor, 1 is neutral; a number ``b`` means ``[max(0, 1 - b), 1 + b]``."""
    contrast: float | Range = _OFF
    saturation: float | Range = _OFF
    hue: float | Range = _OFF
    """``ColorJitter``: shift in turns of the HSV hue circle, within ``[-0.5, 0.5]``."""
    p_crop: float = _OFF
    crop_scale: Range = (0.08, 1.0)
    """``RandomResizedCrop(scale=)``: share of the image's area."""
    crop_ratio: Range = (3 / 4, 4 / 3)
    """``RandomResizedCrop(ratio=)``: width over height."""
    p_affine: float = _OFF
    affine_degrees: float | Range = _OFF
    """``RandomAffine(degrees=)``: angle in degrees, clockwise."""
    translate: Range = (0.0, 0.0)
    """``RandomAffine``: greatest shift as a share of (width, height)."""
    scale: Range = (1.0, 1.0)
    """``RandomAffine``: zoom factor."""
    shear: float | Range | tuple[float, float, float, float] = _OFF
    """``RandomAffine``: degrees along x, or ``(x_min, x_max, y_min, y_max)``."""
    p_blur: float = _OFF
    kernel_size: int = 3
    """``GaussianBlur``: odd, in pixels of the output image."""
    sigma: float | Range = (0.1, 2.0)
    """``GaussianBlur``: standard deviation in pixels of the output image."""
    p_sharpness: float = _OFF
    sharpness_factor: float = 2.0
    """``RandomAdjustSharpness``: 0 blurs, 1 is neutral, 2 sharpens."""
    p_perspective: float = _OFF
    distortion_scale: float = 0.5
    """``RandomPerspective``: how far the corners move, as a share of half the image."""
    interpolation: str = "bilinear"
    """Of the rotation and the affine step: ``bilinear``, or ``nearest`` as torchvision's two
    classes have it by default. Crop and perspective are bilinear, torchvision's default."""

    def __post_init__(self) -> None:
        given = {name: getattr(self, name) for name in _FIELDS}
        for name, value in given.items():
            checked = _CHECKS[name](name, checks.plain(value))
            # an Unset probability stays one: dataclasses.replace gives it here again
            if not isinstance(value, checks.Unset) or isinstance(checked, tuple):
                object.__setattr__(self, name, checked)
        checks.check_ranges_have_probabilities(given, self, _STORED)

    def __repr__(self) -> str:
        """Show what differs from the defaults."""
        differs = (f"{n}={getattr(self, n)!r}" for n in _FIELDS if getattr(self, n) != _STORED[n])
        return f"{type(self).__name__}({', '.join(differs)})"

    @classmethod
    def from_dict(cls, options: Mapping[str, Any]) -> AugmentPolicy:
        """Build a policy from a mapping of field names, e.g. a parsed TOML table.

        Raises:
            ConfigError: if a key is unknown (the near names are listed) or a value is wrong.
        """
        for key in options:
            if key not in _FIELDS:
                near = difflib.get_close_matches(str(key), _FIELDS, n=3) or list(_FIELDS)
                raise ConfigError(
                    f"unknown augmentation option {key!r}; did you mean {' or '.join(near)}?"
                )
        return cls(**dict(options))

    @classmethod
    def from_toml(cls, source: str | Path) -> AugmentPolicy:
        """Read a policy from a TOML file (a ``Path``) or from TOML text (a ``str``).

        Raises:
            ConfigError: if the file can't be read, isn't TOML, or holds a bad option.
        """
        try:
            text = source.read_text() if isinstance(source, Path) else source
            return cls.from_dict(tomllib.loads(text))
        except OSError as error:
            raise ConfigError(f"the augmentation policy {source} can't be read: {error}") from None
        except tomllib.TOMLDecodeError as error:
            where = source if isinstance(source, Path) else "the given text"
            raise ConfigError(
                f"{where} is not valid TOML: {error}; a file is given as a pathlib.Path, "
                "a string is read as TOML text"
            ) from None

    def to_dict(self) -> dict[str, Any]:
        """Every option by name, ranges as lists, ready for a TOML or JSON writer."""
        pairs = ((name, getattr(self, name)) for name in _FIELDS)
        plain = ((name, float(v) if isinstance(v, checks.Unset) else v) for name, v in pairs)
        return {name: list(v) if isinstance(v, tuple) else v for name, v in plain}

    def to_toml(self) -> str:
        """The policy as TOML text; ``AugmentPolicy.from_toml`` gives back an equal policy.

        >>> AugmentPolicy.from_toml(PAPER.to_toml()) == PAPER
        True
        """
        return toml.dumps(self.to_dict())

    def replace(self, **changes: Any) -> AugmentPolicy:
        """Copy the policy with some options changed, e.g. ``PAPER.replace(p_blur=0)``.

        Raises:
            ConfigError: as at construction, and on the range of a step that stays off.
        """
        checks.check_changes(changes, self, _STORED)
        return self.from_dict({**self.to_dict(), **changes})


def check_policy(policy: Any) -> AugmentPolicy:
    """Check that an argument is a policy.

    Raises:
        ConfigError: it is something else; the message has the way to a policy.
    """
    if isinstance(policy, AugmentPolicy):
        return policy
    if isinstance(policy, str):
        near = POLICIES.get(policy)
        remedy = f"Use POLICIES[{policy!r}]" if near else "Use AugmentPolicy.from_toml for a file"
    elif isinstance(policy, Mapping):
        remedy = "Use AugmentPolicy.from_dict(...)"
    elif policy is None:
        remedy = "Use NONE for no augmentation"
    else:
        remedy = "Use AugmentPolicy(...) or one of fastleuk.augment.POLICIES"
    raise ConfigError(
        f"policy must be an AugmentPolicy, got {type(policy).__name__} {policy!r:.60}. {remedy}."
    )


_FIELDS: tuple[str, ...] = tuple(f.name for f in dataclasses.fields(AugmentPolicy))
_DEFAULTS: dict[str, Any] = {f.name: f.default for f in dataclasses.fields(AugmentPolicy)}

_CHECKS: dict[str, Any] = {
    **{name: checks.probability for name in _FIELDS if name.startswith("p_")},
    "degrees": checks.symmetric(math.inf),
    "brightness": checks.factor,
    "contrast": checks.factor,
    "saturation": checks.factor,
    "hue": checks.symmetric(0.5),
    "crop_scale": checks.crop_scale,
    "crop_ratio": checks.positive_range,
    "affine_degrees": checks.symmetric(math.inf),
    "translate": checks.translate,
    "scale": checks.zoom,
    "shear": checks.shear,
    "kernel_size": checks.kernel_size,
    "sigma": checks.sigma,
    "sharpness_factor": checks.sharpness,
    "distortion_scale": checks.probability,
    "interpolation": checks.interpolation,
}

_STORED: dict[str, Any] = {name: _CHECKS[name](name, value) for name, value in _DEFAULTS.items()}

NONE = AugmentPolicy()
"""No augmentation: the plain resize."""

PAPER = AugmentPolicy(
    p_hflip=0.5,
    p_vflip=0.5,
    p_rotation=1.0,
    degrees=25,
    p_jitter=1.0,
    brightness=0.3,
    contrast=0.3,
    saturation=0.3,
    hue=0.05,
    p_crop=1.0,
    crop_scale=(0.7, 1.0),
    crop_ratio=(0.75, 1.33),
    p_affine=1.0,
    translate=(0.05, 0.05),
    scale=(0.95, 1.05),
    shear=10,
    p_blur=1.0,
    kernel_size=3,
    sigma=(0.1, 2.0),
    p_sharpness=0.3,
    sharpness_factor=2.0,
    p_perspective=0.3,
    distortion_scale=0.2,
)
"""The chain of "Transfer Learning with EfficientNet for Accurate Leukemia Cell
Classification" (Ahmed 2025), section on augmentation."""

FLIPS_ROTATIONS = AugmentPolicy(p_hflip=0.5, p_vflip=0.5, p_rotation=1.0, degrees=180)
"""Flips and rotation by any angle: leaves a cell's size and colour, which are diagnostic."""

STAIN = FLIPS_ROTATIONS.replace(
    p_jitter=0.8,
    brightness=0.2,
    contrast=0.2,
    saturation=0.2,
    hue=0.03,
    p_blur=0.3,
    kernel_size=3,
    sigma=(0.1, 1.5),
)
"""The same with colour jitter and blur: slides differ in stain, light and focus, and a network that
has seen too little of that knows the subjects it was trained on better than the disease."""

POLICIES: dict[str, AugmentPolicy] = {
    "paper": PAPER,
    "flips-rotations": FLIPS_ROTATIONS,
    "stain": STAIN,
    "none": NONE,
}
"""The presets by the names that the command line knows."""
