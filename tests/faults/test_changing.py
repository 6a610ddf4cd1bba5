"""Files that vanish, shrink, grow or change while a run reads them: each is named."""

import shutil

import pytest

from tests.faults.commands import TINY, of
from tests.makers.bmp_files import bmp, photo

CHANGES = {
    "vanishes": lambda file: file.unlink(),
    "shrinks": lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]),
    "is empty": lambda file: file.write_bytes(b""),
    "becomes text": lambda file: file.write_bytes(b"path,label\n" * 400),
    "is a folder": lambda file: (file.unlink(), file.mkdir()),
}
"""After which the file can't be decoded."""


@pytest.fixture
def training(cells, tmp_path):
    """Train without a cache, and do something to one training image after the first epoch."""
    from fastleuk.config import assemble
    from fastleuk.training.run import train

    data = shutil.copytree(cells, tmp_path / "set")

    def go(change, *, loader="auto"):
        said, changed = [], []
        config = assemble(
            {
                "data": {
                    "data": str(data), "subject_regex": of(data)[3],
                    "val_fraction": 0.25, "test_fraction": 0.25,
                },
                "loader": {
                    "size": 48, "batch_size": 8, "workers": 1, "cache": "off", "loader": loader,
                },
                "model": {"backbone": "test_efficientnet", "weights": "none"},
                "optim": {"epochs": 6},
                "run": {"device": "cpu", "out": str(tmp_path / "run")},
            }
        )  # fmt: skip

        def report(text):
            said.append(text)
            if text.startswith("epoch   1") and not changed:
                rows = (tmp_path / "run" / "split.csv").read_text().splitlines()
                path = next(row for row in rows if ",train," in row).split(",")[0]
                changed.append(data / path)
                change(changed[0])

        try:
            train(config, report=report)
        except Exception as error:
            return error, changed[0], said
        return None, changed[0], said

    return go


@pytest.mark.parametrize("name", CHANGES)
def test_a_file_that_can_not_be_read_any_more_is_named(name, training):
    from fastleuk.errors import FastleukError

    error, file, _ = training(CHANGES[name])
    assert isinstance(error, FastleukError), error
    assert str(file) in str(error)
    assert (file.parents[1].parent / "run" / "last.ckpt").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("name", CHANGES)
def test_the_torchvision_loader_names_it_too(name, training):
    from fastleuk.errors import FastleukError

    error, file, _ = training(CHANGES[name], loader="torchvision")
    assert isinstance(error, FastleukError), error
    assert str(file) in str(error)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("grows", lambda file: file.write_bytes(file.read_bytes() + bytes(999))),
        ("is larger", lambda file: file.write_bytes(bmp(photo(150, 90)))),
    ],
)
def test_a_file_that_is_another_image_now_is_named_at_the_end(name, change, training):
    """It can be decoded, so the epochs go on; the run says whose pixels were not verified."""
    from fastleuk.errors import DataError

    error, file, _ = training(change)
    assert isinstance(error, DataError), name
    assert "have changed since they were verified" in str(error)
    assert file.name in str(error)


@pytest.mark.parametrize("name", ["vanishes", "shrinks"])
def test_a_file_that_is_lost_before_resuming_is_named(name, cells, tmp_path):
    from tests.faults.commands import give

    data = shutil.copytree(cells, tmp_path / "set")
    words = ("train", *of(data), *TINY, "--epochs", 1, "--out", tmp_path / "run")
    assert give(*words).code == 0
    rows = (tmp_path / "run" / "split.csv").read_text().splitlines()
    path = next(row for row in rows if ",train," in row).split(",")[0]
    CHANGES[name](data / path)
    outcome = give("train", "--resume", tmp_path / "run", "--epochs", 2)
    assert outcome.code == 2, outcome.text
    assert path.rsplit("/", 1)[-1] in outcome.text
