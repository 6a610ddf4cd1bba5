"""The page in a real browser: cells in, predictions, heat maps and a CSV out."""

import csv
import io
import time

import pytest

import fastleuk
from fastleuk.evaluation.decision import Decision, file_hash, write_decision
from fastleuk.serve.limits import Limits
from tests.makers.chromium import Chromium
from tests.makers.servers import picture, serving
from tests.makers.untrained_runs import untrained_run

pytestmark = pytest.mark.slow

CSV = "csv()"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Chromium(tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    run = untrained_run(tmp_path_factory.mktemp("runs") / "cells-1")
    chosen = {"part": "val", "images": 40, "weights": file_hash(run / "best.safetensors")}
    write_decision(run, Decision(1.7, 0.45, "youden", "ALL", chosen, ("hem", "ALL")))
    with serving([run], limits=Limits(images=7)) as client:
        client.run = run
        yield client


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Twenty cells and a text."""
    folder = tmp_path_factory.mktemp("cells")
    for seed in range(20):
        kind = ("PNG", "BMP", "JPEG")[seed % 3]
        (folder / f"cell, {seed}.{kind.lower()}").write_bytes(picture(seed, 60, kind))
    (folder / "text.png").write_text("only text")
    return sorted(folder.iterdir())


def choose(page, files):
    """Choose files, as a click on the input would."""
    root = page.call("DOM.getDocument")["root"]["nodeId"]
    node = page.call("DOM.querySelector", nodeId=root, selector="#files")["nodeId"]
    page.call("DOM.setFileInputFiles", nodeId=node, files=[str(file) for file in files])


def wait(page, script):
    until = time.monotonic() + 60
    while not page.evaluate(script):
        assert time.monotonic() < until, page.evaluate("document.body.innerText")
        time.sleep(0.05)


def problems(page, client):
    """What went wrong, and whatever was asked of anybody but the server."""
    own = (f"request: http://127.0.0.1:{client.port}/", "request: blob:")
    return [text for text in page.problems if not text.startswith(own)]


def open_page(browser, client, **options):
    page = browser.open(f"http://127.0.0.1:{client.port}/", **options)
    wait(
        page, "!document.getElementById('work').hidden || !document.getElementById('login').hidden"
    )
    return page


@pytest.mark.parametrize("look", ["desktop", "phone", "dark"])
def test_cells_are_predicted_looked_at_and_saved(browser, served, files, look):
    size = {"width": 390, "height": 800, "phone": True} if look == "phone" else {}
    page = open_page(browser, served, dark=look == "dark", **size)
    assert "not for diagnosis" in page.evaluate("document.body.innerText")
    assert "chosen on the validation part" in page.evaluate("document.body.innerText")
    choose(page, files)
    wait(page, "rows.length === 21 && !working")
    with fastleuk.load(served.run) as loaded:
        wanted = loaded.predict([str(file) for file in files], skip_bad=True)
    rows = list(csv.DictReader(io.StringIO(page.evaluate(CSV))))
    assert [row["path"] for row in rows] == [file.name for file in files]
    assert [row["predicted"] or None for row in rows] == wanted.labels
    for row, chances in zip(rows, wanted.probabilities, strict=True):
        if not row["error"]:
            found = [float(row["p_hem"]), float(row["p_ALL"])]
            assert found == pytest.approx(chances.tolist(), abs=1e-4)
    assert rows[-1]["error"].startswith("not an image")
    told = page.evaluate("document.getElementById('progress').textContent")
    assert told.startswith("21 images: ")
    assert "1 not predicted" in told
    wait(page, "[...document.querySelectorAll('.image:not([hidden])')].every(i => i.complete)")
    shown = "[...document.querySelectorAll('.image:not([hidden])')].filter(i => i.naturalWidth)"
    assert page.evaluate(f"{shown}.length") == 20
    assert page.evaluate("document.querySelectorAll('.track line').length") == 20
    pytest.importorskip("pytorch_grad_cam", reason="grad-cam is not installed")
    page.evaluate("document.querySelector('.look').click()")
    wait(page, "document.querySelector('.overlay').naturalWidth === 256")
    assert "Grad-CAM for" in page.evaluate("document.querySelector('.inside').textContent")
    assert page.evaluate(
        "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    )
    assert problems(page, served) == []
    page.evaluate("document.getElementById('clear').click()")
    assert page.evaluate("document.querySelectorAll('.cell').length") == 0
    page.close()


def test_what_is_dropped_is_predicted(browser, served):
    page = open_page(browser, served)
    page.evaluate(
        "(() => { const data = new DataTransfer();"
        "data.items.add(new File(['text'], 'dropped.png'));"
        "window.dispatchEvent(new DragEvent('drop', {dataTransfer: data, cancelable: true})) })()"
    )
    wait(page, "rows.length === 1")
    assert page.evaluate("document.querySelector('.failed .name').textContent") == "dropped.png"
    page.close()


def test_the_keyboard_reaches_everything(browser, served, files):
    page = open_page(browser, served)
    choose(page, files[:1])
    wait(page, "rows.length === 1")
    reached = []
    for _ in range(4):
        page.press("Tab")
        reached.append(
            page.evaluate("document.activeElement.id || document.activeElement.className")
        )
    assert reached == ["files", "csv", "clear", "look small"]
    page.close()


def test_a_page_with_a_token_asks_for_it(browser, served, files):
    with serving([served.run], token="secret") as client:
        page = open_page(browser, client)
        type_in = "document.getElementById('token').value = '{}';"
        submit = "document.querySelector('#login button').click()"
        page.evaluate(type_in.format("wrong") + submit)
        wait(page, "document.getElementById('login-error').textContent")
        assert page.evaluate("document.getElementById('work').hidden")
        page.evaluate(type_in.format("secret") + submit)
        wait(page, "!document.getElementById('work').hidden")
        choose(page, files[:2])
        wait(page, "rows.length === 2")
        assert page.evaluate("rows.every(row => !row.error)")
        page.close()
