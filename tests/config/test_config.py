import dataclasses

import pytest

from fastleuk.config import Config, LoaderConfig, OptimConfig, read_config
from fastleuk.errors import ConfigError


def test_toml_round_trip():
    config = Config(
        loader=LoaderConfig(size=96, batch_size=7), optim=OptimConfig(lr=3e-5, amp=True)
    )
    assert Config.from_toml(config.to_toml()) == config


def test_defaults_are_the_papers():
    config = Config()
    assert config.loader.size == 224
    assert dataclasses.astuple(config.optim)[:3] == (50, 15, 1e-4)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[optim]\nepoch = 3", "epochs"),
        ("[optm]\nepochs = 3", "optim"),
        ("[optim]\nepochs = 'three'", "epochs of .* must be int"),
        ("[optim]\nepochs = true", "must be int"),
        ("[optim]\nepochs = 0", "at least 1"),
        ("[data]\nval_fraction = 1.5", "between 0 and 1"),
        ("optim = 3", "must be a table"),
        ("[optim", "not valid TOML"),
        ("[run]\ndevice = 'tpu'", "--device"),
    ],
)
def test_bad_toml_names_the_key_and_the_remedy(text, says):
    with pytest.raises(ConfigError, match=says):
        Config.from_toml(text)


def test_a_whole_number_is_a_float_too():
    assert Config.from_toml("[optim]\nlr = 1").optim.lr == 1.0


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.toml"):
        read_config(tmp_path / "nowhere.toml")
