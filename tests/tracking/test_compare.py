"""``fastleuk compare``: settings, warnings, paired figures, and the picture."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from fastleuk.errors import CheckpointError, ConfigError
from fastleuk.evaluation import plots
from fastleuk.evaluation.metrics import classification_metrics
from fastleuk.run_folder.state import BEGUN, set_mark
from fastleuk.tracking.compare import (
    compare_runs,
    differing_settings,
    pair_with_first,
    same_tests,
    warnings_of,
)
from fastleuk.tracking.paired import (
    group_confusions,
    macro_f1,
    macro_f1_interval,
    resample_weights,
)
from fastleuk.tracking.tested import read_records, read_records_on
from tests.makers.tracking_folders import NAMES, write_run

LABELS = np.arange(40) % 2


def _flipped(*places):
    predicted = LABELS.copy()
    predicted[list(places)] ^= 1
    return predicted


def _compare(runs, tmp_path, **options):
    said = []
    out = tmp_path / "picture.png"
    compare_runs(runs, out=out, report=said.append, **options)
    return "\n".join(said), out


# Statistics


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 5)), min_size=1))
def test_macro_f1_is_scikit_learns(samples):
    labels, predicted, groups = (np.array(column) for column in zip(*samples, strict=True))
    confusions = group_confusions(labels, predicted, groups, 3)
    assert len(confusions) == len(set(groups.tolist()))
    expected = f1_score(labels, predicted, labels=[0, 1, 2], average="macro", zero_division=0)
    assert macro_f1(confusions.sum(axis=0)) == pytest.approx(expected)


def test_subjects_are_drawn_class_by_class_and_alike_for_one_seed():
    strata = np.array([0, 1, 1, 0, 1, 0, 0])
    weights = np.concatenate(list(resample_weights(strata, resamples=500, seed=3)))
    assert weights.shape == (500, 7)
    assert (weights[:, strata == 0].sum(axis=1) == 4).all()
    assert (weights[:, strata == 1].sum(axis=1) == 3).all()
    assert weights.mean(axis=0) == pytest.approx(np.ones(7), abs=0.15)
    again = np.concatenate(list(resample_weights(strata, resamples=500, seed=3)))
    assert np.array_equal(weights, again)
    other = np.concatenate(list(resample_weights(strata, resamples=500, seed=4)))
    assert not np.array_equal(weights, other)


def test_a_run_against_itself_differs_by_nothing_and_reversed_by_the_opposite():
    rng = np.random.default_rng(1)
    groups = np.arange(40) % 8
    a, b = (
        group_confusions(LABELS, np.where(rng.random(40) < p, LABELS, 1 - LABELS), groups, 2)
        for p in (0.9, 0.7)
    )
    same = macro_f1_interval(a, a)
    # None of 4 subjects a class differs: the exact bound of those that may.
    share = 1 - 0.025 ** (1 / 4)
    assert (same.estimate, same.low, same.high) == pytest.approx((0, -share, share))
    forth, back = macro_f1_interval(a, b), macro_f1_interval(b, a)
    assert forth.estimate == pytest.approx(macro_f1(a.sum(0)) - macro_f1(b.sum(0)))
    assert (forth.low, forth.estimate, forth.high) == pytest.approx(
        (-back.high, -back.estimate, -back.low)
    )
    assert forth.low < forth.estimate < forth.high


# Runs


def test_settings_that_differ_are_listed_and_no_others(tmp_path):
    a = write_run(tmp_path / "a", lr=1e-4)
    b = write_run(tmp_path / "b", lr=1e-3, backbone="resnet50")
    text = (b / "config.toml").read_text().replace("prefetch = 2\n", "")
    (b / "config.toml").write_text(text)
    (b / "policy.toml").write_text("p_hflip = 0.25\n")
    assert differing_settings(read_records([a, b])) == {
        "loader.prefetch": ["2", "(not set)"],
        "model.backbone": ["test_efficientnet", "resnet50"],
        "optim.lr": ["0.0001", "0.001"],
        "policy.p_hflip": ["0.5", "0.25"],
    }


def test_runs_on_the_same_samples_are_paired_by_content(tmp_path):
    a = write_run(tmp_path / "a", predicted=_flipped(0, 1, 2))
    b = write_run(tmp_path / "b", predicted=_flipped(2))
    # The same files in another folder: paths don't matter, hashes do.
    for name in ("split.csv", "test_predictions.csv"):
        (b / name).write_text((b / name).read_text().replace("c/", "elsewhere/"))
    head, *lines = (b / "test_predictions.csv").read_text().splitlines()
    (b / "test_predictions.csv").write_text("\n".join([head, *lines[7:], *lines[:7]]))
    records = read_records([a, b])
    assert same_tests(records)
    assert warnings_of(records) == []
    (pair,) = pair_with_first(records).pairs
    assert (pair.only_first, pair.only_second) == (0, 2)
    # Subjects 0 and 1 differ: of their four swaps, two differ as much as what was seen.
    assert (pair.test.differing, pair.test.exact) == (2, True)
    assert pair.test.p_value == pair.corrected == 0.5
    gain = records[1].figures["f1_macro"] - records[0].figures["f1_macro"]
    assert pair.difference.estimate == pytest.approx(gain)
    assert pair.difference.low <= gain <= pair.difference.high
    said, _ = _compare([a, b], tmp_path)
    assert "40 images of 8 subjects" in said
    assert f"{gain:+.4f}" in said
    assert "only in B: 2" in said
    assert "p = 0.5 (all swaps of 2 subjects)" in said
    assert "Holm" not in said
    assert "has 4 subjects only" in said
    assert "no p below 0.5 is possible" in said
    assert "not their methods" in said
    assert "seeds differ" not in said
    assert "warning" not in said
    assert _compare([a, b], tmp_path)[0] == said
    rough = [
        pair_with_first(records, resamples=9, seed=seed).pairs[0].difference for seed in range(6)
    ]
    assert len({(each.low, each.high) for each in rough}) > 1
    assert rough[0] == pair_with_first(records, resamples=9, seed=0).pairs[0].difference


def test_several_runs_are_corrected_for_and_their_seeds_are_said(tmp_path):
    runs = [
        write_run(tmp_path / name, predicted=_flipped(*range(wrong)))
        for name, wrong in (("a", 0), ("b", 7), ("c", 5), ("d", 0))
    ]
    config = runs[2] / "config.toml"
    config.write_text(config.read_text().replace("seed = 0", "seed = 5"))
    records = read_records(runs)
    pairs = pair_with_first(records).pairs
    assert [pair.test.p_value for pair in pairs] == [2 / 2**7, 2 / 2**5, 1.0]
    assert [pair.corrected for pair in pairs] == pytest.approx([6 / 2**7, 4 / 2**5, 1.0])
    said, _ = _compare(runs, tmp_path)
    assert "0.0469 by Holm's correction for 3 comparisons" in said
    assert "seeds differ (A 0, B 0, C 5, D 0)" in said


def test_a_runs_own_interval_is_shown(tmp_path):
    a, b = (write_run(tmp_path / name, predicted=_flipped(0, 1, 2)) for name in "ab")
    figures = json.loads((b / "test_metrics.json").read_text())
    figures["interval"] = {"f1_macro": [0.123, 0.987]}
    (b / "test_metrics.json").write_text(json.dumps(figures))
    said, _ = _compare([a, b], tmp_path)
    (line,) = [line for line in said.splitlines() if "95% interval  " in line]
    assert line.endswith("0.123–0.987")
    assert line.count("0.123") == 1


def test_positive_classes_that_differ_are_warned_of(tmp_path):
    a, b = (write_run(tmp_path / name, predicted=_flipped(0, 1, 2)) for name in "ab")
    assert "positive classes differ" not in _compare([a, b], tmp_path)[0]
    figures = b / "test_metrics.json"
    figures.write_text(figures.read_text().replace('"positive_class": "ALL"',
                                                   '"positive_class": "hem"'))  # fmt: skip
    said, _ = _compare([a, b], tmp_path)
    assert "the positive classes differ (A ALL, B hem)" in said


@pytest.mark.parametrize("what", ["hashes", "labels"])
def test_other_test_samples_are_warned_of_and_not_paired(tmp_path, what):
    a = write_run(tmp_path / "a")
    changes = {
        "hashes": {"hashes": [f"{i:064x}" for i in range(10, 50)], "split": "image"},
        "labels": {"labels": 1 - LABELS},
    }[what]
    b = write_run(tmp_path / "b", **changes)
    records = read_records([a, b])
    assert not same_tests(records)
    (warning,) = warnings_of(records)
    assert "can't be compared" in warning
    if what == "hashes":
        assert "30 shared, 10 only in A, 10 only in B" in warning
        assert "image" in warning
    said, out = _compare([a, b], tmp_path)
    assert f"warning: {warning}" in said
    assert "Paired with A" not in said
    assert "rough ones (fewest: A 4, B 4)" in said
    assert out.is_file()


def test_other_validation_samples_and_missing_parts_are_said(tmp_path):
    a = write_run(tmp_path / "a")
    b = write_run(tmp_path / "b", tested=False, scores=())
    (b / "split.csv").write_text(
        (b / "split.csv").read_text().replace("c/v.bmp,val,v", "c/v.bmp,val,w")
    )
    said, out = _compare([a, b], tmp_path)
    assert "B has not been tested yet" in said
    assert "B has no finished epoch" in said
    assert "validated on different samples" in said
    assert out.is_file()


def test_a_run_that_has_not_ended_is_said(tmp_path):
    a, b = (write_run(tmp_path / name) for name in "ab")
    assert warnings_of(read_records([a, b])) == []
    set_mark(b, BEGUN)  # it has test figures, of an evaluate
    said, _ = _compare([a, b], tmp_path)
    (line,) = [line for line in said.splitlines() if "has not ended" in line]
    assert line == (
        "warning: B: this run has not ended: epoch 3 of 9. Its figures are not yet final."
    )


def test_the_picture_has_a_curve_of_each_run_and_marks_synthetic_cells(tmp_path):
    from PIL import Image

    def colours(image):
        return {colour for _, colour in image.convert("RGB").getcolors(1 << 24)}

    blue, orange, green = (31, 119, 180), (255, 127, 14), (44, 160, 44)
    runs = [write_run(tmp_path / name, synthetic=True) for name in ("a", "b", "c")]
    for count in (2, 3):
        _, out = _compare(runs[:count], tmp_path)
        with Image.open(out) as image:
            found = colours(image)
            assert min(image.size) > 5 * plots.DPI
        assert {blue, orange} <= found
        assert (green in found) == (count == 3)
    said, _ = _compare(runs, tmp_path)
    assert said.count("SYNTHETIC") == 3


def test_names_tell_runs_apart(tmp_path):
    runs = [write_run(tmp_path / name) for name in ("x/seed/fold", "y/seed/fold", "z/seed/fold")]
    assert [r.name for r in read_records(runs)] == [f"{n}/seed/fold" for n in "xyz"]


def test_what_cannot_be_compared_is_refused(tmp_path, fastleuk):
    a, b = (write_run(tmp_path / name) for name in "ab")
    for runs in ([a], [a, b, tmp_path / "b" / ".." / "a"]):
        with pytest.raises(ConfigError, match="two or more"):
            read_records(runs)
    with pytest.raises(CheckpointError, match="no run folder"):
        read_records([a, tmp_path])
    with pytest.raises(ConfigError, match=r"ends in \.png"):
        compare_runs([a, b], out=tmp_path / "x.jpg")
    with pytest.raises(ConfigError, match="26"):
        compare_runs([a] * 27, out=tmp_path / "x.png")
    (b / "test_metrics.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"b: test_metrics\.json"):
        read_records([a, b])
    code, _, error = fastleuk("compare", a, b)
    assert code == 2
    assert "test_metrics.json" in error


def test_the_command_compares(tmp_path, fastleuk):
    a, b = (write_run(tmp_path / name) for name in "ab")
    out = tmp_path / "new.png"
    code, said, _ = fastleuk("compare", a, b, "--out", out)
    assert code == 0
    assert out.stat().st_size > 10_000
    assert "(none)" in said
    # All are right: no resample differs, of 4 subjects a class.
    assert f"{0.025 ** (1 / 4):.3f}–1.000" in said
    assert "exact" in said


# On other data


def _evaluated_on(run, name, predicted, *, labels=LABELS, content="one", hashes=True, **on):
    """Write what ``fastleuk evaluate RUN --on NAME`` would: 40 images of 8 subjects."""
    folder = run / f"on-{name}"
    folder.mkdir()
    chances = np.eye(2)[predicted] * 0.6 + 0.2
    figures = classification_metrics(labels, chances, NAMES)
    figures |= {"on": {"name": name, "content": content, **on}, "subjects": 8, "loss": 0.1}
    (folder / "metrics.json").write_text(json.dumps(figures))
    rows = [
        f"x/{n}.png,s{n % 8},{NAMES[label]},{NAMES[said]},{p[0]},{p[1]}"
        + (f",{n:064x},{n % 8}" if hashes else "")
        for n, (label, said, p) in enumerate(zip(labels, predicted, chances, strict=True))
    ]
    head = "path,subject,label,predicted,p_hem,p_ALL" + ",sha256,group" * hashes
    (folder / "predictions.csv").write_text("\n".join([head, *rows[::-1], ""]))
    return folder


@pytest.mark.parametrize("hashes", [True, False])
@pytest.mark.parametrize("name", ["centre", "on-centre", "/data/centre/"])
def test_runs_are_compared_on_other_data(tmp_path, name, hashes, fastleuk):
    """Runs of other splits, whose test parts can't be compared."""
    a = write_run(tmp_path / "a")
    b = write_run(tmp_path / "b", hashes=[f"{i:064x}" for i in range(90, 130)])
    _evaluated_on(a, "centre", _flipped(*range(12)), hashes=hashes)
    _evaluated_on(b, "centre", _flipped(2), hashes=hashes)
    out = tmp_path / "new.png"
    code, said, _ = fastleuk("compare", a, b, "--on", name, "--out", out)
    assert code == 0
    assert "Figures on centre" in said
    assert "40 images of 8 subjects" in said
    assert "can't be compared" not in said
    assert out.stat().st_size > 10_000
    found = json.loads(out.with_suffix(".json").read_text())
    assert found["on"]["name"] == "centre"
    gain = found["comparisons"]["pairs"][0]["differences"]["f1_macro"]
    expected = [f1_score(LABELS, said, average="macro") for said in
                (_flipped(*range(12)), _flipped(2))]  # fmt: skip
    assert gain["estimate"] == pytest.approx(expected[1] - expected[0])
    assert gain["low"] < gain["estimate"] < gain["high"]
    assert found["comparisons"]["over"] == "subjects"
    assert f"{expected[0]:.4f}" in said
    assert f"{gain['estimate']:+.4f}" in said


def test_the_same_data_under_another_name_are_found_by_content(tmp_path):
    a, b = (write_run(tmp_path / name) for name in "ab")
    _evaluated_on(a, "centre", _flipped(1, 2))
    _evaluated_on(b, "centre", _flipped(3), content="other")
    _evaluated_on(b, "centre-2", _flipped(4, 5, 6))
    first, second = read_records_on([a, b], "centre")
    assert second.tested.predicted.count("ALL") != first.tested.predicted.count("ALL")
    assert (~second.tested.right).sum() == 3


def test_what_cannot_be_compared_on_other_data_is_refused(tmp_path):
    a, b, c, d = (write_run(tmp_path / name) for name in "abcd")
    _evaluated_on(a, "centre", _flipped(1))
    with pytest.raises(ConfigError, match=r"--on on-centre: .*b was not evaluated.*it has nothing"):
        read_records_on([a, b], "centre")
    with pytest.raises(ConfigError, match=r"--on cent: .*it has on-centre"):
        read_records_on([a, b], "cent")
    _evaluated_on(b, "centre", _flipped(1), content="other")
    with pytest.raises(ConfigError, match="holds the figures of other data"):
        read_records_on([a, b], "centre")
    _evaluated_on(c, "centre", _flipped(1)[:30], labels=LABELS[:30])
    with pytest.raises(ConfigError, match="30 shared, 10 only in the first, 0 only in the second"):
        read_records_on([a, c], "centre")
    _evaluated_on(d, "centre", _flipped(1), labels=_flipped(7))
    with pytest.raises(ConfigError, match="39 shared, 1 only in the first, 1 only"):
        read_records_on([a, d], "centre")
    (a / "on-centre" / "metrics.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"on-centre: metrics\.json"):
        read_records_on([a, c], "centre")


def test_warnings_of_other_data_are_repeated(tmp_path):
    a, b = (write_run(tmp_path / name) for name in "ab")
    _evaluated_on(a, "centre", _flipped(1))
    place = _evaluated_on(b, "centre", _flipped(3), weights="of before")
    figures = json.loads((place / "metrics.json").read_text())
    (place / "metrics.json").write_text(json.dumps({**figures, "warnings": ["12 are known"]}))
    (b / "best.safetensors").write_bytes(b"now")
    said, _ = _compare([a, b], tmp_path, on="centre")
    assert "warning: B: 12 are known" in said
    assert "of other weights than it has now" in said
