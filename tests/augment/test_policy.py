import dataclasses

import pytest

from fastleuk.augment import FLIPS_ROTATIONS, NONE, PAPER, POLICIES, AugmentPolicy
from fastleuk.errors import ConfigError


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_toml_round_trip(policy, tmp_path):
    text = policy.to_toml()
    path = tmp_path / "policy.toml"
    path.write_text(text)
    assert AugmentPolicy.from_toml(text) == policy
    assert AugmentPolicy.from_toml(path) == policy


def test_numbers_become_torchvision_ranges():
    policy = AugmentPolicy(degrees=25, brightness=0.3, contrast=1.5, hue=0.05, sigma=1, shear=10)
    assert policy.degrees == (-25, 25)
    assert policy.brightness == (0.7, 1.3)
    assert policy.contrast == (0, 2.5)
    assert policy.hue == (-0.05, 0.05)
    assert policy.sigma == (1, 1)
    assert policy.shear == (-10, 10)


def test_presets():
    assert PAPER.crop_scale == (0.7, 1.0)
    assert all(getattr(NONE, f.name) == 0 for f in dataclasses.fields(NONE) if "p_" in f.name[:2])
    on = {f.name for f in dataclasses.fields(NONE) if f.name.startswith("p_")}
    kept = {name for name in on if getattr(FLIPS_ROTATIONS, name)}
    assert kept == {"p_hflip", "p_vflip", "p_rotation"}  # nothing that changes size or colour
    assert FLIPS_ROTATIONS.degrees == (-180, 180)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"p_hflip": 1.5}, "within \\[0, 1\\]"),
        ({"p_hflip": float("nan")}, "finite"),
        ({"scale": (0, 1)}, "greater than 0"),
        ({"crop_scale": (0.5, 1.5)}, "at most 1"),
        ({"crop_ratio": (1.3, 0.7)}, "write \\(0.7, 1.3\\)"),
        ({"kernel_size": 4}, "odd"),
        ({"sigma": 0}, "greater than 0"),
        ({"hue": 0.6}, "-0.5, 0.5"),
        ({"brightness": -0.1}, "negative"),
        ({"shear": (1, 2, 3)}, "2 or 4 numbers"),
        ({"shear": 90}, "-90, 90"),
        ({"degrees": "25"}, "number"),
        ({"interpolation": "cubic"}, "bilinear or nearest"),
        ({"translate": (0.1, 1.2)}, "shares"),
        ({"sharpness_factor": -1}, "negative"),
        ({"degree": 5}, "degrees"),
        ({"xyzzy": 5}, "p_hflip"),
    ],
)
def test_nonsense_is_refused_at_construction(options, says):
    with pytest.raises(ConfigError, match=says) as caught:
        AugmentPolicy.from_dict(options)
    assert next(iter(options)) in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_bad_toml(tmp_path):
    with pytest.raises(ConfigError, match=r"pathlib\.Path"):
        AugmentPolicy.from_toml("policy.toml")
    with pytest.raises(ConfigError, match="can't be read"):
        AugmentPolicy.from_toml(tmp_path / "missing.toml")
    with pytest.raises(ConfigError, match="did you mean degrees"):
        AugmentPolicy.from_toml("degres = 5")
