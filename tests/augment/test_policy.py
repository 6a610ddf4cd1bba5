import dataclasses
import pickle

import numpy as np
import pytest
from torchvision.transforms import InterpolationMode

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
    on = {f.name: 0.5 for f in dataclasses.fields(NONE) if f.name.startswith("p_")}
    ranges = {"degrees": 25, "brightness": 0.3, "contrast": 1.5, "hue": 0.05, "shear": 10}
    policy = AugmentPolicy(**on, **ranges, sigma=1)
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


RANGES = {
    "degrees": ("p_rotation", 25),
    "brightness": ("p_jitter", 0.3),
    "contrast": ("p_jitter", 0.3),
    "saturation": ("p_jitter", 0.3),
    "hue": ("p_jitter", 0.1),
    "crop_scale": ("p_crop", (0.5, 1)),
    "crop_ratio": ("p_crop", (0.5, 2)),
    "affine_degrees": ("p_affine", 10),
    "translate": ("p_affine", (0.1, 0.1)),
    "scale": ("p_affine", (0.9, 1.1)),
    "shear": ("p_affine", 10),
    "kernel_size": ("p_blur", 5),
    "sigma": ("p_blur", (1, 2)),
    "sharpness_factor": ("p_sharpness", 3),
    "distortion_scale": ("p_perspective", 0.2),
}


ON = sorted({p for p, _ in RANGES.values()})


def test_every_range_has_its_probability():
    options = {f.name for f in dataclasses.fields(AugmentPolicy)}
    assert options == {*RANGES, *(p for p, _ in RANGES.values())} | {
        "p_hflip",
        "p_vflip",
        "interpolation",
    }


@pytest.mark.parametrize("name", RANGES)
@pytest.mark.parametrize(
    "make",
    [
        AugmentPolicy,
        lambda **options: AugmentPolicy.from_dict(options),
        NONE.replace,
        lambda **options: dataclasses.replace(NONE, **options),
        lambda **options: PAPER.replace(**dict.fromkeys(ON, 0)).replace(**options),
    ],
    ids=["construct", "from_dict", "replace", "dataclasses.replace", "replace switched off"],
)
def test_a_range_without_its_probability_is_refused(make, name):
    p, value = RANGES[name]
    with pytest.raises(ConfigError, match=rf"^{name}: .*Add {p}=1.0"):
        make(**{name: value})
    assert getattr(make(**{name: value, p: 0.5}), p) == 0.5
    assert getattr(make(**{name: value, p: 0}), p) == 0


@pytest.mark.parametrize("make", [AugmentPolicy, NONE.replace])
@pytest.mark.parametrize("p", ["p_rotation", "p_jitter", "p_affine"])
def test_a_probability_without_its_range_is_refused(make, p):
    with pytest.raises(ConfigError, match=rf"^{p}: 0.5, but .* is missing.*Add e.g. "):
        make(**{p: 0.5})
    name = next(name for name, (of, _) in RANGES.items() if of == p)
    assert make(**{p: 0.5, name: 0})  # as in a search over values


def test_a_policy_can_be_switched_off_step_by_step_and_stored():
    for p in ON:
        off = PAPER.replace(**{p: 0})
        assert AugmentPolicy.from_toml(off.to_toml()) == off
        assert pickle.loads(pickle.dumps(off)) == off
    assert pickle.loads(pickle.dumps(NONE)) == NONE
    assert all(type(v) in (float, int, str, list) for v in NONE.to_dict().values())


@pytest.mark.parametrize(
    ("options", "stored"),
    [
        ({"p_rotation": 1.0, "degrees": np.array([-10, 10])}, (-10, 10)),
        ({"p_rotation": np.float32(1), "degrees": np.float64(10)}, (-10, 10)),
        ({"p_jitter": 1.0, "brightness": np.array([0.5, 2.0], np.float16)}, (0.5, 2.0)),
        ({"p_affine": 1.0, "translate": [0.1, 0.2]}, (0.1, 0.2)),
        ({"p_affine": 1.0, "shear": np.array([-1, 1, -2, 2])}, (-1, 1, -2, 2)),
        ({"p_crop": 1.0, "crop_scale": np.array([0.5, 1])}, (0.5, 1)),
        ({"p_blur": 1.0, "sigma": np.array([1, 2])}, (1, 2)),
        ({"interpolation": InterpolationMode.NEAREST}, "nearest"),
    ],
)
def test_numpy_pairs_and_torchvisions_modes_are_taken(options, stored):
    assert getattr(AugmentPolicy(**options), list(options)[-1]) == stored


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"p_hflip": 50}, "50 percent is 0.5"),
        ({"p_jitter": 1, "hue": 18}, "dividing by 360"),
        ({"p_jitter": 1, "brightness": 30}, "30 percent is 0.3"),
        ({"p_affine": 1, "scale": (90, 110)}, "factor"),
        ({"p_affine": 1, "translate": (20, 20)}, "dividing by size"),
        ({"p_affine": 1, "translate": 0.1}, r"\(0.1, 0.1\): the shares of width and height"),
        ({"p_rotation": 1, "degrees": None}, "finite number"),
    ],
)
def test_other_units_are_refused_with_the_way_out(options, says):
    with pytest.raises(ConfigError, match=says):
        AugmentPolicy(**options)


def test_a_repr_shows_what_differs():
    assert repr(NONE) == "AugmentPolicy()"
    assert repr(FLIPS_ROTATIONS) == (
        "AugmentPolicy(p_hflip=0.5, p_vflip=0.5, p_rotation=1.0, degrees=(-180.0, 180.0))"
    )
    assert eval(repr(PAPER)) == PAPER
