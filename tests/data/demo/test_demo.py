"""The synthetic demo set: pure, in C-NMC's layout, learnable, and hard where the real set is."""

import csv
import json
import re
import struct
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, StratifiedKFold, cross_val_predict

from fastleuk.data.demo import generate as demo
from fastleuk.data.demo.generate import MARKER, demo_root, write_demo
from fastleuk.data.demo.plan import (
    DEFAULT_CELLS,
    MIN_CELLS,
    DemoCell,
    demo_cell_params,
    draw_demo_cell,
    plan_demo,
)
from fastleuk.errors import ConfigError, DataError

UID = re.compile(r"UID_(H?\d+)_(\d+)_(\d+)_(all|hem)\.bmp")
TRAIN, PRELIM, FINAL = (
    "C-NMC_training_data",
    "C-NMC_test_prelim_phase_data",
    "C-NMC_test_final_phase_data",
)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_demo(tmp_path_factory.mktemp("demo") / "set", cells=MIN_CELLS, seed=3)


def contents(root: Path) -> dict[str, bytes]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def labelled(cells: int = DEFAULT_CELLS, seed: int = 0) -> list[DemoCell]:
    return [cell for cell in plan_demo(cells=cells, seed=seed) if cell.phase != "final"]


def prelim_rows(root: Path) -> list[dict[str, str]]:
    with (root / f"{PRELIM}_labels.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_bytes_depend_on_cells_and_seed_only(small: Path, tmp_path: Path) -> None:
    again = write_demo(tmp_path / "again", cells=MIN_CELLS, seed=3, workers=1)
    assert contents(again) == contents(small)
    cell = plan_demo(cells=MIN_CELLS, seed=3)[0]
    assert not np.array_equal(draw_demo_cell(cell, seed=3), draw_demo_cell(cell, seed=4))


def test_no_two_images_are_alike(small: Path) -> None:
    images = [data for name, data in contents(small).items() if name.endswith(".bmp")]
    assert len(set(images)) == len(images) == MIN_CELLS + 9


def test_layout_names_and_subjects(small: Path) -> None:
    owners: dict[str, set[str]] = {}
    for fold in ("fold_0", "fold_1", "fold_2"):
        for name in ("all", "hem"):
            for path in (small / TRAIN / fold / name).iterdir():
                match = UID.fullmatch(path.name)
                assert match is not None, path.name
                assert match[4] == name
                assert match[1].startswith("H") == (name == "hem")
                owners.setdefault(fold, set()).add(match[1])
    rows = prelim_rows(small)
    matches = [UID.fullmatch(row["Patient_ID"]) for row in rows]
    owners["prelim"] = {match[1] for match in matches if match}
    for row, match in zip(rows, matches, strict=True):
        assert match is not None
        assert row["labels"] == {"all": "1", "hem": "0"}[match[4]]
    assert [row["new_names"] for row in rows] == [f"{n}.bmp" for n in range(1, len(rows) + 1)]
    assert {p.name for p in (small / PRELIM).iterdir()} == {row["new_names"] for row in rows}
    assert {p.name for p in (small / FINAL).iterdir()} == {f"{n}.bmp" for n in range(1, 10)}

    everyone = [subject for subjects in owners.values() for subject in subjects]
    assert len(everyone) == len(set(everyone)) == 60
    assert {len(subjects) for subjects in owners.values()} == {15}
    assert len(list((small / TRAIN).rglob("*.bmp"))) + len(rows) == MIN_CELLS


def test_proportions_at_the_default_size() -> None:
    plan = labelled()
    assert len(plan) == DEFAULT_CELLS
    assert sum(cell.label for cell in plan) == DEFAULT_CELLS * 2 // 3
    phases = Counter(cell.phase for cell in plan)
    assert 0.10 < phases["prelim"] / DEFAULT_CELLS < 0.20
    assert all(0.22 < phases[fold] / DEFAULT_CELLS < 0.35 for fold in ("fold_0", "fold_1"))
    assert len({cell.path for cell in plan}) == len({cell.uid for cell in plan}) == len(plan)
    assert len(plan_demo()) == DEFAULT_CELLS * 11 // 10


def test_numbers_of_the_preliminary_set_tell_no_class() -> None:
    prelim = [cell for cell in labelled(3000) if cell.phase == "prelim"]
    order = [int(Path(cell.path).stem) for cell in prelim]
    auc = roc_auc_score([cell.label for cell in prelim], order)
    assert 0.4 < auc < 0.6, auc  # three standard errors of a coin's AUC


def test_synthetic_says_so(small: Path) -> None:
    marker = json.loads((small / MARKER).read_text(encoding="utf-8"))
    assert marker == {
        "synthetic": True,
        "version": demo.GENERATOR_VERSION,
        "cells": MIN_CELLS,
        "seed": 3,
    }
    assert "SYNTHETIC" in (small / "README.txt").read_text(encoding="utf-8")


def test_bmp_format_is_that_of_the_real_set(small: Path) -> None:
    for path in small.rglob("*.bmp"):
        data = path.read_bytes()
        side = 600 if path.parent.name == FINAL else 450
        assert len(data) == {450: 608_454, 600: 1_080_054}[side]
        _, _, width, height, _, bits, compression = struct.unpack_from("<IIiiHHI", data, 10)
        assert (width, height, bits, compression) == (side, side, 24, 0)  # height > 0: bottom-up


def test_cells_look_like_real_ones_in_figures(small: Path) -> None:
    """Bounds from the eleven real cells at hand, widened for stain (measured here: within)."""
    means = []
    for path in (small / TRAIN).rglob("*.bmp"):
        pixels: npt.NDArray[np.uint8] = np.asarray(Image.open(path))
        inside: npt.NDArray[np.bool_] = pixels.max(axis=2) > 0
        assert 0.70 < 1.0 - inside.mean() < 0.93, path.name
        assert pixels[inside].min() > 0  # black is background only
        rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
        assert abs(rows[0] + rows[-1] - 449) <= 1
        assert abs(columns[0] + columns[-1] - 449) <= 1
        means.append(pixels[inside].mean(axis=0))
        assert (pixels[inside].std(axis=0) > 4).all()
    red, green, blue = np.mean(means, axis=0)
    assert 52 < red < 80, red
    assert 20 < green < 40, green
    assert 62 < blue < 100, blue


def test_final_set_keeps_the_scale_of_the_cells() -> None:
    final = [cell for cell in plan_demo() if cell.phase == "final"][:3]
    for cell in final:
        inside = draw_demo_cell(cell, seed=0).any(axis=2)
        assert inside.shape == (600, 600)
        assert not inside[:75].any()
        assert not inside[:, :75].any()
        assert inside.sum() == pytest.approx(demo_cell_params(cell, seed=0).area, rel=0.02)


@pytest.mark.parametrize("seed", range(4))
def test_size_alone_tells_the_class_as_well_as_in_the_real_set(seed: int) -> None:
    cells = labelled(seed=seed)
    areas = [demo_cell_params(cell, seed=seed).area for cell in cells]
    auc = roc_auc_score([cell.label for cell in cells], areas)
    assert 0.70 <= auc <= 0.85, auc  # real set: 0.81 (DESIGN 7)


def test_drawn_area_is_the_area_asked_for() -> None:
    for cell in labelled()[::60]:
        drawn = draw_demo_cell(cell, seed=0).any(axis=2).sum()
        assert drawn == pytest.approx(demo_cell_params(cell, seed=0).area, rel=0.02)


def test_a_leaky_split_flatters() -> None:
    """Colour and size find the subject again, so cross-validation by image reads too high."""
    cells = labelled()
    params = [demo_cell_params(cell, seed=0) for cell in cells]
    features = np.array([[p.area, p.azure, p.eosin, *p.light, p.focus] for p in params])
    labels = np.array([cell.label for cell in cells])
    subjects = np.array([cell.name for cell in cells])
    forest = RandomForestClassifier(60, min_samples_leaf=2, random_state=0)

    def auc(folds: GroupKFold | StratifiedKFold) -> float:
        scores = cross_val_predict(
            forest, features, labels, groups=subjects, cv=folds, method="predict_proba"
        )
        return float(roc_auc_score(labels, scores[:, 1]))

    with warnings.catch_warnings():
        # scikit-learn warns that StratifiedKFold ignores the groups, which is the point here.
        warnings.filterwarnings("ignore", message="The groups parameter is ignored")
        leaky, honest = auc(StratifiedKFold(5, shuffle=True, random_state=0)), auc(GroupKFold(5))
    assert leaky - honest >= 0.05, (leaky, honest)


def test_demo_root_makes_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTLEUK_CACHE_DIR", str(tmp_path))
    seen: list[tuple[int, int]] = []
    root = demo_root(cells=MIN_CELLS, progress=lambda done, total: seen.append((done, total)))
    assert tmp_path in root.parents
    assert seen == [(n, MIN_CELLS + 9) for n in range(1, MIN_CELLS + 10)]
    assert [path.name for path in root.parent.iterdir()] == [root.name]
    seen.clear()
    assert demo_root(cells=MIN_CELLS, progress=lambda *both: seen.append(both)) == root
    assert not seen


def test_interrupted_run_leaves_nothing_that_passes_for_a_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FASTLEUK_CACHE_DIR", str(tmp_path))

    def interrupt(done: int, _total: int) -> None:
        if done == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        demo_root(cells=MIN_CELLS, progress=interrupt)
    assert list((tmp_path / "demo").iterdir()) == []

    # What a killed process would leave: a temporary folder, never taken for the set.
    left = f".v{demo.GENERATOR_VERSION}-cells{MIN_CELLS}-seed0-dead"
    (tmp_path / "demo" / left / "set" / TRAIN).mkdir(parents=True)
    root = demo_root(cells=MIN_CELLS)
    assert len(list(root.rglob("*.bmp"))) == MIN_CELLS + 9


def test_demo_root_with_something_in_its_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FASTLEUK_CACHE_DIR", str(tmp_path))
    place = tmp_path / "demo" / f"v{demo.GENERATOR_VERSION}-cells{MIN_CELLS}-seed0"
    place.mkdir(parents=True)
    (place / "note.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(DataError, match="in the way"):
        demo_root(cells=MIN_CELLS)
    assert (place / "note.txt").read_text(encoding="utf-8") == "mine"
    assert [path.name for path in place.parent.iterdir()] == [place.name]


@pytest.mark.slow
def test_two_runs_at_once_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTLEUK_CACHE_DIR", str(tmp_path))
    roots = []

    def let_another_run_finish(done: int, _total: int) -> None:
        if done == 1:
            roots.append(demo_root(cells=MIN_CELLS))

    assert demo_root(cells=MIN_CELLS, progress=let_another_run_finish) == roots[0]
    assert [path.name for path in roots[0].parent.iterdir()] == [roots[0].name]


def test_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("FASTLEUK_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(DataError, match="FASTLEUK_CACHE_DIR"):
        demo_root(cells=MIN_CELLS)


def test_out_may_be_empty_but_not_used(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(DataError, match="not an empty folder"):
        write_demo(tmp_path, cells=MIN_CELLS)
    with pytest.raises(DataError, match="not an empty folder"):
        write_demo(tmp_path / "note.txt", cells=MIN_CELLS)
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ({"cells": MIN_CELLS - 1}, "89 cells"),
        ({"cells": -5}, "-5 cells"),
        ({"seed": -1}, "seed of the demo set is -1"),
        ({"workers": 0}, "workers is 0"),
    ],
)
def test_numbers_out_of_range(tmp_path: Path, arguments: dict[str, Any], found: str) -> None:
    with pytest.raises(ConfigError, match=found):
        write_demo(tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("cells", [MIN_CELLS, 91, 100, 137, 1001])
def test_every_subject_has_a_cell_at_any_size(cells: int) -> None:
    for seed in range(5):
        plan = labelled(cells, seed)
        assert len(plan) == cells
        assert len({cell.name for cell in plan}) == 60
        assert len({cell.path for cell in plan}) == cells
