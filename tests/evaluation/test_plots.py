"""Pictures: whole or not there, and a disk's error names the file."""

import errno

import pytest

from fastleuk.evaluation.plots import new_figure, save_figure


def test_a_picture_that_cannot_be_written_is_named_and_the_old_one_stays(tmp_path, monkeypatch):
    path = tmp_path / "confusion_matrix.png"
    figure = new_figure(2, 2)
    save_figure(figure, path, synthetic=True)
    before = path.read_bytes()

    def fill(file, **_):
        file.write(before[:99])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(figure, "savefig", fill)
    with pytest.raises(OSError, match=r"confusion_matrix\.png"):
        save_figure(figure, path, synthetic=False)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
