"""The page tells of other data what ``metrics.json`` says of them."""

import json
import shutil

import pytest

from fastleuk.errors import CheckpointError
from fastleuk.evaluation.elsewhere.evaluate import OtherData, evaluate_on
from fastleuk.report.run import methods_run, report_run
from tests.makers.cells import SUBJECT_REGEX, write_cells
from tests.makers.page import parse
from tests.makers.training_runs import quiet

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture(scope="module")
def scored(run, cells, tmp_path_factory):
    """A run that was scored on a brighter set, which has a training image of its own."""
    folder = tmp_path_factory.mktemp("scored")
    copy = shutil.copytree(run, folder / "run")
    other = write_cells(folder / "b<2>", subjects=4, per_subject=3, seed=9, light=1.8)
    split = (copy / "split.csv").read_text().splitlines()
    path = next(line.split(",")[0] for line in split if ",train," in line)
    shutil.copy(cells / path, other / path.split("/")[0] / "l77_0.bmp")
    options = OtherData(on=str(other), subject_regex=SUBJECT_REGEX, allow_overlap=True)
    evaluate_on(copy, options, report=quiet)
    return copy


@pytest.fixture
def copy(scored, tmp_path):
    return shutil.copytree(scored, tmp_path / "run")


def _section(run):
    page = parse(report_run(run, report=quiet, images=False).read_text(encoding="utf-8"))
    (found,) = page.all("section", aria_labelledby="other")
    return found


def test_the_page_shows_figures_warning_and_shift(copy):
    section = _section(copy)
    kept = json.loads((copy / "on-b-2" / "metrics.json").read_text())
    for name in ("f1_macro", "auc", "sensitivity", "ece_15"):
        (row,) = section.all("tr", data_figure=name)
        assert float(row.attributes["data-value"]) == kept["intervals"]["figures"][name]["estimate"]
    (warning,) = kept["warnings"]
    assert section.text.count(warning) == len(section.all("table")) + 1
    assert "Unlike training: the foreground has more red" in section.text
    assert "1st to 99th percentile over the 32 training images" in section.text
    (line,) = [line for line in (copy / "MODEL_CARD.md").read_text().splitlines()
               if line.startswith("On b-2: macro-F1")]  # fmt: skip
    assert warning in line
    assert f"On b-2: macro-F1 {kept['f1_macro']:.3f}" in methods_run(copy)


def test_figures_of_other_weights_are_said_to_be(copy):
    with (copy / "best.safetensors").open("ab") as file:
        file.write(b"\0")
    (copy / "decision.json").unlink(missing_ok=True)
    assert "These figures are of other weights than the run has now" in _section(copy).text


def test_without_other_data_the_page_says_how_to_have_them(run):
    text = _section_of_untouched(run)
    assert "Not tested on data from elsewhere" in text
    assert "--on DATA" in text


def _section_of_untouched(run):
    assert not list(run.glob("on-*"))
    return _section(run).text


@pytest.mark.parametrize("content", ["{", '{"f1_macro": 1.0}', '{"f1_macro": 1.0, "on": []}'])
def test_a_damaged_file_is_named(copy, content):
    (copy / "on-b-2" / "metrics.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"on-b-2/metrics.json can't be used"):
        report_run(copy, report=quiet, images=False)
