"""``--cache auto`` weighs the cache against the files."""

import pytest
import torch

from fastleuk.config import DataConfig, LoaderConfig
from fastleuk.data.from_config import open_dataset
from fastleuk.loading import prepare, resolve_loader
from tests.makers.cells import SUBJECT_REGEX


@pytest.mark.parametrize(("times", "built"), [(1, False), (2, True)])
def test_no_cache_is_built_unasked_of_many_times_the_files(
    cells, tmp_path, monkeypatch, times, built
):
    monkeypatch.setenv("FASTLEUK_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(prepare, "FREE_BYTES", 0)
    monkeypatch.setattr(prepare, "AUTO_TIMES", times)
    dataset = open_dataset(DataConfig(data=str(cells), subject_regex=SUBJECT_REGEX))
    config = resolve_loader(LoaderConfig(loader="torchvision", size=96, workers=1))
    said = []
    pixels = prepare.open_pixels(dataset, config, torch.device("cpu"), report=said.append)
    assert (pixels is not None) is built
    assert "GB, the files" in said[0] if built else "GB of files" in said[0]
    assert ("more than is taken" in said[0]) is not built


def test_a_small_cache_is_built_whatever_the_files_take():
    assert prepare.FREE_BYTES >= 1 << 30
