"""A run that was trained, its page, and a run that was written out by hand."""

import pytest

from fastleuk.report.run import report_run
from tests.makers.hand_runs import hand_run
from tests.makers.page import parse
from tests.makers.short_runs import short_run
from tests.makers.training_runs import quiet


@pytest.fixture(scope="session")
def run(cells, tmp_path_factory):
    """A trained run; nothing may be changed in it."""
    pytest.importorskip("jinja2")
    return short_run(cells, tmp_path_factory.mktemp("runs") / "run", epochs=2)


@pytest.fixture(scope="session")
def html_file(run, tmp_path_factory):
    """The page of that run, in a folder of its own: other tests write pages into the run."""
    return report_run(run, out=tmp_path_factory.mktemp("page"), report=quiet)


@pytest.fixture(scope="session")
def html(html_file):
    return html_file.read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def page(html):
    return parse(html)


@pytest.fixture
def by_hand(tmp_path):
    """A run by hand, to be broken."""
    pytest.importorskip("jinja2")
    return hand_run(tmp_path / "run")


@pytest.fixture
def undrawn(monkeypatch):
    """Charts are empty: what is tested is beside them, and they take most of the time."""

    def save(_, file, format, **__):
        assert format == "svg"
        file.write(b'<svg viewBox="0 0 1 1"></svg>')

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", save)
