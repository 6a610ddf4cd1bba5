"""The record of the images that weights were trained on: compact, by pixels, and never guessed."""

import hashlib
import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from fastleuk.errors import WeightsError
from fastleuk.models.seen_images import (
    KEY,
    NO_IMAGES,
    from_json,
    read_seen_images,
    starting_file,
)


def digests(*numbers):
    return [hashlib.sha256(str(number).encode()).hexdigest() for number in numbers]


def write(path, metadata):
    save_file({"a": torch.zeros(2)}, path, metadata=metadata)
    return path


def test_a_record_finds_its_images_again_and_is_small(tmp_path):
    seen = NO_IMAGES.and_those_of(digests(*range(12_000)), "--split subject --seed 0")
    text = json.dumps(seen.as_json())
    assert len(text) < 11 * 12_000
    file = write(tmp_path / "w.safetensors", {"fastleuk": json.dumps({KEY: seen.as_json()})})
    again = read_seen_images(file)
    assert again.complete
    assert again.split == "--split subject --seed 0"
    found = again.contain([*digests(5, 11_999), *digests(12_000)])
    np.testing.assert_array_equal(found, [True, True, False])


def test_a_chain_of_starts_carries_the_union():
    first = NO_IMAGES.and_those_of(digests(1, 2), "")
    third = from_json(first.as_json()).and_those_of(digests(2, 3), "").and_those_of(digests(4), "")
    assert len(third.hashes) == 4
    assert third.contain(digests(1, 2, 3, 4)).all()


@pytest.mark.parametrize(
    "record", [None, {}, {"hashes": "?"}, {"hashes": "AAAA", "images": 1}, 7, {"hashes": None}]
)
def test_a_missing_or_damaged_record_is_not_complete(record):
    assert not from_json(record).complete
    assert not from_json(record).and_those_of(digests(1), "").complete


def test_only_weights_of_fastleuk_have_a_record(tmp_path):
    assert read_seen_images(write(tmp_path / "a.safetensors", {"format": "pt"})) is None
    assert read_seen_images(tmp_path / "imagenet.pth") is None
    old = write(tmp_path / "b.safetensors", {"fastleuk": json.dumps({"classes": ["a", "b"]})})
    assert not read_seen_images(old).complete
    (tmp_path / "c.safetensors").write_bytes(b"damaged")
    with pytest.raises(WeightsError, match=r"c\.safetensors: can't be read"):
        read_seen_images(tmp_path / "c.safetensors")


def test_the_starting_file_is_found_behind_every_way_to_name_it(tmp_path, monkeypatch):
    file = write(tmp_path / "model.safetensors", {"format": "pt"})
    assert starting_file("resnet18", str(file)) == file
    assert starting_file(f"local-dir:{tmp_path}", "hub") == file
    assert starting_file("resnet18", "hub") is None
    assert starting_file("resnet18", "none") is starting_file("resnet18", "bundled") is None
    asked = []

    def cached(repository, name, revision):
        asked.append((repository, name, revision))
        return str(file)

    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", cached)
    assert starting_file("hf-hub:OWNER/NAME@v1", "hub") == file
    assert asked == [("OWNER/NAME", "model.safetensors", "v1")]
