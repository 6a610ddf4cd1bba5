"""The pages in a real browser: everything is seen, nothing overflows, the keyboard reaches it."""

import pytest

from fastleuk.data.demo.generate import write_demo
from fastleuk.protocols import jobs
from fastleuk.protocols.cv.run import cross_validate
from fastleuk.protocols.paper.run import run_paper
from fastleuk.report.run import report_run
from tests.makers.chromium import Chromium
from tests.makers.protocol_runs import PretendedTraining, tiny_config
from tests.makers.training_runs import quiet

pytestmark = pytest.mark.slow

LOOKS = {
    "desktop": {},
    "desktop, dark": {"dark": True},
    "phone": {"width": 390, "height": 800, "phone": True},
    "phone, dark": {"width": 390, "height": 800, "phone": True, "dark": True},
}
OVERFLOWING = """(() => {
  const edge = document.documentElement.clientWidth;
  return [...document.querySelectorAll("body *")]
    .filter((e) => !e.closest(".skip, svg") && (e.matches(".scroll") || !e.closest(".scroll")))
    .filter((e) => e.getBoundingClientRect().right > edge + 1)
    .map((e) => `${e.tagName}.${e.className}`);
})()"""
UNSEEN = """[...document.querySelectorAll("img, svg")].filter((e) => {
  const box = e.getBoundingClientRect();
  const drawn = e.tagName !== "IMG" || (e.complete && e.naturalWidth > 0);
  return !(drawn && box.width > 8 && box.height > 8) && e.checkVisibility();
}).length"""
# WCAG 2.1: the contrast of each text with the nearest ground that is painted behind it.
FAINT = """(() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) => v / 255).map(
      (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const over = (top, below) => {
    const alpha = top[3] ?? 1;
    return [0, 1, 2].map((i) => alpha * top[i] + (1 - alpha) * below[i]);
  };
  const ground = (e) => {
    if (!e) return [255, 255, 255];
    const own = parse(getComputedStyle(e).backgroundColor);
    return (own[3] ?? 1) === 1 ? own : over(own, ground(e.parentElement));
  };
  const found = [];
  for (const e of document.querySelectorAll("body *:not(script):not(style)")) {
    const text = [...e.childNodes].filter((n) => n.nodeType === 3 && n.data.trim());
    if (!text.length || e.closest(".skip") || !e.checkVisibility()) continue;
    const style = getComputedStyle(e), behind = ground(e);
    const inked = parse(e.closest("svg") ? style.fill : style.color);
    const [a, b] = [light(over(inked, behind)), light(behind)].sort((x, y) => y - x);
    const contrast = (a + 0.05) / (b + 0.05);
    if (contrast < 4.5) found.push(`${text[0].data.trim()}: ${contrast.toFixed(2)}`);
  }
  return found;
})()"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Chromium(tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.fixture(scope="module", params=["run", "cv", "paper"])
def address(request, tmp_path_factory):
    """The page of a run, of a cross-validation and of the paper's table."""
    if request.param == "run":
        return request.getfixturevalue("html_file").as_uri()
    folder = tmp_path_factory.mktemp(request.param)
    data = write_demo(folder / "set", cells=90)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jobs, "train", PretendedTraining())
        if request.param == "cv":
            cross_validate(tiny_config(data), folds="2", seeds=2, out=folder / "cv", report=quiet)
        else:
            names = ("test_efficientnet", "test_resnet")
            run_paper(
                tiny_config(data), out=folder / "paper", backbones=names, seeds=2, report=quiet
            )
    return report_run(folder / request.param, report=quiet).as_uri()


@pytest.mark.parametrize("look", LOOKS)
def test_everything_is_seen_and_nothing_overflows(browser, address, look):
    page = browser.open(address, **LOOKS[look])
    page.evaluate("document.querySelectorAll('details').forEach((e) => { e.open = true; })")
    assert page.evaluate(OVERFLOWING) == []
    assert page.evaluate(UNSEEN) == 0
    assert page.evaluate(FAINT) == []
    assert page.problems == []
    page.close()


def test_the_keyboard_reaches_and_works_the_filters(browser, html_file):
    page = browser.open(html_file.as_uri())
    for _ in range(80):
        page.press("Tab")
        if page.evaluate("document.activeElement.name === 'kind'"):
            break
    else:
        pytest.fail("Tab does not reach the filter of the cells")
    page.press("ArrowRight")
    assert page.evaluate("document.activeElement.value") == "hit"
    kinds = "[...document.querySelectorAll('#cell-list > :not([hidden])')].map(e => e.dataset.kind)"
    assert set(page.evaluate(kinds)) <= {"hit"}
    outline = "getComputedStyle(document.activeElement.nextElementSibling).outlineStyle"
    assert page.evaluate(outline) == "solid"
    page.close()


def test_it_prints_with_the_checklists_open(browser, html_file, tmp_path):
    page = browser.open(html_file.as_uri())
    page.pdf(tmp_path / "page.pdf")
    data = (tmp_path / "page.pdf").read_bytes()
    assert data.startswith(b"%PDF")
    assert 5 < data.count(b"/Type /Page\n") < 40
    assert page.problems == []
    page.close()
