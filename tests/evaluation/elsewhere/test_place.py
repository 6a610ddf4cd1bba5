"""Where the figures of other data go."""

import pytest

from fastleuk.errors import ConfigError
from fastleuk.evaluation.elsewhere.place import results_place, set_name
from fastleuk.files import write_json


def _fill(place, content, name="metrics.json"):
    write_json(place / name, {"on": {"content": content}})


def test_names_come_from_the_data(tmp_path, monkeypatch):
    (tmp_path / "Centre B (2024)").mkdir()
    monkeypatch.chdir(tmp_path / "Centre B (2024)")
    assert set_name(".") == set_name(f"{tmp_path}/Centre B (2024)/") == "Centre-B-2024"
    assert set_name("a/cells.csv") == "cells"
    assert set_name(f"{tmp_path}/shards/x-*.tar") == "shards"
    assert set_name(f"{tmp_path}/shards/one.tar") == "one"
    assert set_name("/") == "data"
    assert "/" not in set_name("..")


def test_two_sets_of_one_name_get_two_folders(tmp_path):
    said = []

    def place(content):
        return results_place(tmp_path, "b", content, None, said.append).name

    assert place("one") == "on-b"
    _fill(tmp_path / "on-b", "one", "metrics.tta-d4.json")
    assert place("one") == "on-b"
    assert said == []
    assert place("two") == "on-b-2"
    assert "holds the figures of other data" in said[0]
    _fill(tmp_path / "on-b-2", "two")
    assert (place("one"), place("two"), place("three")) == ("on-b", "on-b-2", "on-b-3")


def test_a_folder_of_ones_own_holds_nothing_else(tmp_path):
    def place(out, content="one"):
        return results_place(tmp_path, "b", content, out, print)

    assert place(tmp_path / "mine") == tmp_path / "mine"
    _fill(tmp_path / "mine", "one")
    assert place(tmp_path / "mine") == tmp_path / "mine"
    with pytest.raises(ConfigError, match="holds the figures of other data"):
        place(tmp_path / "mine", "two")
    (tmp_path / "config.toml").write_text("")
    with pytest.raises(ConfigError, match="is a run folder"):
        place(tmp_path)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "metrics.json").write_text("{")
    with pytest.raises(ConfigError, match="other data"):
        place(tmp_path / "bad")
