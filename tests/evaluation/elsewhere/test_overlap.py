"""Images that a run has seen are found by file, pixels, looks and name, and may be left out."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from fastleuk.data.dataset import load_dataset
from fastleuk.errors import DataError
from fastleuk.evaluation.baselines.measure import measure
from fastleuk.evaluation.elsewhere.overlap import (
    ALIKE,
    NAMED,
    distinctive_stems,
    find_overlap,
    spans,
)
from fastleuk.evaluation.elsewhere.seen import Looks, Seen


def blotchy(seed, side=120):
    """A stained cell on black with a texture and an outline of its own."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] - side / 2
    coarse = Image.fromarray(rng.uniform(70, 200, (6, 6)).astype(np.float32))
    texture = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC))
    angle = np.arctan2(y, x)
    radius = side * (0.36 + 0.04 * np.cos(3 * angle + rng.uniform(0, 6)) * rng.uniform(0.5, 1))
    inside = (x**2 + y**2 < radius**2)[..., None]
    return Image.fromarray((texture[..., None] * [0.9, 0.5, 0.8] * inside).astype(np.uint8))


def folder(root, cells):
    for name, cell in cells.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        cell.save(root / name)
    return load_dataset(root, layout="folders")


def seen_by(dataset, *, looks=True):
    known = Looks(
        dataset.pixels, dataset.described, measure(dataset, workers=1)
    ) if looks else None  # fmt: skip
    count = len(dataset.manifest)
    return Seen(
        paths=dataset.manifest.paths,
        subjects=dataset.manifest.subjects,
        parts=("train",) * count,
        sha256=dataset.sha256,
        labels=dataset.manifest.labels,
        tested=frozenset(),
        seed=0,
        looks=known,
    )


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    root = tmp_path_factory.mktemp("own")
    return folder(
        root,
        {f"{c}/UID_{n}_1_{n}_{c}.png": blotchy(10 * n + (c == "hem"))
         for n in range(1, 6) for c in ("all", "hem")},
    )  # fmt: skip


def overlap_of(own, tmp_path, cells, *, looks=True):
    dataset = folder(tmp_path / "on", cells)
    return find_overlap(dataset, np.arange(len(dataset.manifest)), seen_by(own, looks=looks))


@pytest.mark.parametrize(
    "name",
    ["AugmentedImg_1252_UID_3_1_3_all", "UID_3_1_3_all_jpg.rf.0f3a", "uid-3-1-3-ALL (1)",
     "UID_3_1_3_all"],
)  # fmt: skip
@pytest.mark.parametrize("looks", [True, False])
def test_an_altered_copy_is_found_by_its_name(own, tmp_path, name, looks):
    turned = blotchy(30).rotate(37, Image.Resampling.BICUBIC)
    found = overlap_of(
        own,
        tmp_path,
        {f"all/{name}.png": turned, "hem/UID_H90_1_1_hem.png": blotchy(900)},
        looks=looks,
    )
    (match,) = found.matches
    assert (match.how, match.seen) == (NAMED, "all/UID_3_1_3_all.png")
    text = str(found.refusal("on"))
    assert f"all/{name}.png: has its name: training image all/UID_3_1_3_all.png" in text
    assert "coincidence" in text
    assert "--skip-overlap" in text


@pytest.mark.parametrize(
    "paths",
    [["1.bmp"], ["img_1.png"], ["cell_0042.png"], ["a/slide_12345678.png", "b/slide_12345678.png"],
     ["image-00001.jpg"], ["patient7.png"], ["all_all_all_all.bmp"]],
)  # fmt: skip
def test_a_name_that_others_may_have_counts_for_nothing(paths):
    assert distinctive_stems(paths) == {}


def test_a_name_is_only_found_as_whole_words():
    known = distinctive_stems(["UID_5_1_1_all.bmp"])
    assert set(known) & set(spans("aug/x_UID_5_1_1_all_2.bmp"))
    assert not set(known) & set(spans("UID_25_1_1_all.bmp"))
    assert not set(known) & set(spans("UID_5_1_1_allx.bmp"))


@pytest.mark.slow
def test_drawn_cells_have_names_by_chance(tmp_path):
    from fastleuk.data.demo.generate import write_demo

    sets = []
    for seed in (1, 2):
        write_demo(tmp_path / str(seed), cells=150, seed=seed)
        sets.append(load_dataset(tmp_path / str(seed)))
    seen = dataclasses.replace(seen_by(sets[0], looks=False), synthetic=True)
    rows = np.arange(len(sets[1].manifest))
    assert find_overlap(sets[1], rows, seen).matches == ()
    by_looks = dataclasses.replace(seen_by(sets[0]), synthetic=True)
    assert find_overlap(sets[1], rows, by_looks).matches == ()  # nor do they look alike


def white(cell):
    pixels = np.array(cell)
    pixels[pixels.max(axis=2) == 0] = 255
    return Image.fromarray(pixels)


def test_a_copy_on_another_background_looks_alike(own, tmp_path):
    found = overlap_of(own, tmp_path, {"all/x.png": white(blotchy(30)), "hem/y.png": blotchy(900)})
    (match,) = found.matches
    assert (match.how, match.seen) == (ALIKE, "all/UID_3_1_3_all.png")


def test_the_rest_is_scored_and_what_is_left_out_is_listed(own, tmp_path):
    found = overlap_of(
        own, tmp_path, {"all/x.png": blotchy(30).rotate(90), "all/z.png": blotchy(901),
                        "hem/y.png": blotchy(900)},
    )  # fmt: skip
    rows, skipped = found.skip(np.arange(3), "on")
    assert rows.tolist() == [1, 2]
    assert skipped.scored == ()
    assert skipped.warning == ""
    (line,) = skipped.skipped_lines()
    assert "1 of 3 images are left out (--skip-overlap)" in line
    assert "all/x.png: looks alike" in line
    document = skipped.as_json()
    assert document["images"] == 0
    assert [each["path"] for each in document["skipped"]] == ["all/x.png"]
    assert any("1 of 3 images are left out" in note for note in skipped.notes())
    with pytest.raises(DataError, match="each of the"):
        overlap_of(own, tmp_path / "b", {"all/x.png": blotchy(30), "hem/y.png": blotchy(31)}).skip(
            np.arange(2), "on"
        )


@pytest.mark.parametrize(("side", "told"), [(50, True), (300, False)])
def test_a_comparison_of_small_cells_reports_how_blind_it_is(tmp_path, side, told):
    cells = {f"{c}/{n}.png": blotchy(n + 50 * (c == "b"), side) for n in range(4) for c in "ab"}
    seen = seen_by(folder(tmp_path / "own", cells))
    others = {name: blotchy(500 + n, side) for n, name in enumerate(cells)}
    found = find_overlap(folder(tmp_path / "on", others), np.arange(8), seen)
    assert any("pixels across, fewer than 100" in note for note in found.notes()) == told
    assert found.as_json()["cell_side"] == pytest.approx(0.72 * side, rel=0.1)
