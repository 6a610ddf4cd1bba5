"""Pictures: whole or not there, and a disk's error names the file."""

import dataclasses
import errno

import numpy as np
import pytest

from fastleuk.evaluation import plots
from fastleuk.evaluation.calibration.draw import draw_reliability
from fastleuk.evaluation.plots import new_figure, save_figure
from fastleuk.tracking import curves, tested
from tests.makers.tracking_folders import write_run


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


@pytest.fixture
def figures(monkeypatch):
    """Figures in place of files."""
    drawn = []

    def keep(figure, *_, **__):
        figure.draw_without_rendering()
        drawn.append(figure)

    for module in (plots, curves):
        monkeypatch.setattr(module, "save_figure", keep)
    return drawn


def _inside(axis):
    """Check that every point lies inside the axis, and that the points use most of it."""
    values = np.concatenate([line.get_ydata() for line in axis.lines if len(line.get_ydata()) > 2])
    low, high = axis.get_ylim()
    assert low < values.min()
    assert values.max() < high
    assert np.ptp(values) > 0.6 * (high - low)


@pytest.mark.parametrize("rates", [(1e-4, 1e-4, 1e-4), (1e-4, 5e-5, 1e-5)])
def test_no_point_of_a_loss_is_cut_and_a_constant_rate_has_no_panel(figures, tmp_path, rates):
    run = write_run(tmp_path / "run")
    record, _ = tested.read_records([run, write_run(tmp_path / "other")])
    rows = [
        {
            **record.rows[0],
            "epoch": epoch,
            "train_loss": loss,
            "val_loss": loss - 0.01,
            "lr": rate,
            "val_accuracy": 0.5,
        }
        for epoch, (loss, rate) in enumerate(zip((0.70, 0.67, 0.65), rates, strict=True), 1)
    ]
    plots.plot_learning_curves(rows, tmp_path / "a.png", title="", synthetic=False)
    curves.plot_comparison(
        [dataclasses.replace(record, rows=rows)] * 2, [None, None], tmp_path / "b.png",
        comparable=True,
    )  # fmt: skip
    alone, compared = figures
    _inside(alone.axes[0])
    _inside(compared.axes[0])
    titles = [axis.get_title() for axis in compared.axes]
    assert ("learning rate" in titles) == (len(set(rates)) > 1)


def test_the_reliability_curve_has_a_legend_entry():
    axis = new_figure(3, 3).subplots()
    bins = [{"probability": p, "observed": p, "low": 0.0, "high": 1.0} for p in (0.1, 0.9)]
    draw_reliability(axis, {"before": {"reliability": {"bins": bins}}, "positive_class": "ALL"})
    assert len(axis.get_legend().get_texts()) == 2
