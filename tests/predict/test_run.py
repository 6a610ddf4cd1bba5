"""``fastleuk predict``: the table, and how it is gone on with."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from fastleuk.errors import CheckpointError, ConfigError, DataError
from fastleuk.evaluation.decision import Decision, file_hash, write_decision
from fastleuk.predict.run import predict_files
from tests.makers.short_runs import short_run
from tests.makers.training_runs import quiet
from tests.makers.untrained_runs import untrained_run


def rows_of(path):
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        return list(csv.DictReader(file))


def chances(rows):
    return np.array([[float(row["p_hem"]), float(row["p_ALL"])] for row in rows])


def run_over(runs, paths, out, **options):
    return predict_files(runs, [str(path) for path in paths], out, report=quiet, **options)


@pytest.fixture(scope="module")
def whole(runs, pictures, tmp_path_factory):
    """The table of an uninterrupted command."""
    out = tmp_path_factory.mktemp("whole") / "p.csv"
    run_over(runs[:1], [pictures], out)
    return out


def test_predictions_are_those_of_evaluate_to_the_last_bit(cells, tmp_path):
    run = short_run(cells, tmp_path / "run")
    with (run / "test_predictions.csv").open() as file:
        tested = list(csv.DictReader(file))
    manifest = tmp_path / "test.csv"
    manifest.write_text("path\n" + "".join(f"{row['path']}\n" for row in tested))
    run_over([run], [manifest], tmp_path / "p.csv", root=str(cells))
    found = rows_of(tmp_path / "p.csv")
    assert [row["path"] for row in found] == [str(cells / row["path"]) for row in tested]
    for name in ("predicted", "p_large", "p_small"):
        assert [row[name] for row in found] == [row[name] for row in tested]


def test_rows_come_in_natural_order_and_say_what_made_them(whole, pictures):
    found = rows_of(whole)
    assert [int(os.path.basename(row["path"]).split(".")[0]) for row in found] == [*range(1, 22)]
    assert all(os.path.exists(row["path"]) for row in found)
    both = chances(found)
    assert both.sum(axis=1) == pytest.approx(1)
    assert both[:, 1].std() > 0.05
    assert [row["predicted"] for row in found] == [
        ("hem", "ALL")[int(pair.argmax())] for pair in both
    ]
    assert [row["note"] for row in found if row["note"]] == ["transparent parts, laid over black"]
    told = json.loads(whole.with_name("p.csv.json").read_text())
    assert told["finished"] is True
    assert told["paths"] == [str(pictures)]
    assert len(told["identity"]["runs"][0]["weights_sha256"]) == 64


@pytest.mark.parametrize("share", [0.0, 0.01, 0.2, 0.5, 0.8, 0.999])
def test_a_table_that_was_cut_anywhere_is_completed_to_the_same_bytes(
    runs, pictures, whole, tmp_path, share
):
    data = whole.read_bytes()
    out = tmp_path / "p.csv"
    out.write_bytes(data[: int(share * len(data))])
    (tmp_path / "p.csv.json").write_bytes(whole.with_name("p.csv.json").read_bytes())
    tally = run_over(runs[:1], [pictures], out, resume=True)
    assert out.read_bytes() == data
    assert tally.done >= 21 * (1 - share) - 1


def test_a_file_that_goes_between_counting_and_reading_is_told(runs, pictures, tmp_path):
    folder, said = tmp_path / "set", []
    shutil.copytree(pictures, folder)

    def on_the_way(text):
        (folder / "4.png").unlink(missing_ok=True)  # all were counted before anything is said
        said.append(text)

    predict_files(runs[:1], [str(folder)], tmp_path / "p.csv", report=on_the_way)
    assert len(rows_of(tmp_path / "p.csv")) == 20
    assert any("21 images were counted at the start, and 20 were there" in text for text in said)


def test_resuming_a_finished_table_predicts_nothing(runs, pictures, whole, tmp_path):
    out = tmp_path / "p.csv"
    out.write_bytes(whole.read_bytes())
    said = []
    tally = predict_files(runs[:1], [str(pictures)], out, resume=True, report=said.append)
    assert tally.done == 0
    assert out.read_bytes() == whole.read_bytes()
    assert any("p.csv.json is gone" in line for line in said)


@pytest.mark.slow
def test_a_killed_process_is_gone_on_with(runs, pictures, tmp_path):
    """Also: what is resumed equals what was never stopped, bit for bit."""
    many = tmp_path / "many.csv"
    names = sorted(os.listdir(pictures)) * 200
    many.write_text("path\n" + "".join(f"{name}\n" for name in names))
    out = tmp_path / "p.csv"
    command = [sys.executable, "-m", "fastleuk", "predict", str(runs[0]), str(many)]
    command += ["--root", str(pictures), "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while not (out.exists() and out.stat().st_size > 20_000):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    there = out.read_bytes().count(b"\n")
    assert 10 < there < len(names)
    tally = run_over(runs[:1], [many], out, resume=True, root=str(pictures))
    assert tally.done < len(names) - there + 10
    other = tmp_path / "other.csv"
    run_over(runs[:1], [many], other, root=str(pictures))
    assert out.read_bytes() == other.read_bytes()


def test_other_images_other_runs_and_other_files_are_not_gone_on_with(
    runs, pictures, whole, tmp_path
):
    out = tmp_path / "p.csv"
    out.write_bytes(b"".join(whole.read_bytes().splitlines(keepends=True)[:10]))
    (tmp_path / "p.csv.json").write_bytes(whole.with_name("p.csv.json").read_bytes())
    before = out.read_bytes()
    with pytest.raises(DataError, match=r"is there already.*--resume"):
        run_over(runs[:1], [pictures], out)
    with pytest.raises(CheckpointError, match="weights_sha256 was"):
        run_over(runs[1:], [pictures], out, resume=True)
    with pytest.raises(CheckpointError, match="tta was 'none', is 'flips'"):
        run_over(runs[:1], [pictures], out, resume=True, tta="flips")
    with pytest.raises(CheckpointError, match="batch_size was 8, is 4"):
        run_over(runs[:1], [pictures], out, resume=True, batch_size=4)
    with pytest.raises(DataError, match=r"row 1 is of .*1\.png, but now it is"):
        run_over(runs[:1], [pictures / "2.jpg", pictures], out, resume=True)
    assert out.read_bytes() == before
    notes = tmp_path / "notes.csv"
    notes.write_text("my notes")
    with pytest.raises(DataError, match="no table of these runs"):
        run_over(runs[:1], [pictures], notes, resume=True)
    assert notes.read_text() == "my notes"


def test_what_cannot_be_read_becomes_a_row_and_no_stop(runs, pictures, whole, tmp_path):
    folder = tmp_path / "mixed"
    folder.mkdir()
    good = {}
    for number in range(1, 9):
        (source,) = pictures.glob(f"{number}.*")
        good[f"{number}{source.suffix}"] = source
        (folder / f"{number}{source.suffix}").write_bytes(source.read_bytes())
    (folder / "9.png").write_text("only text")
    (folder / "10.jpg").write_bytes((pictures / "2.jpg").read_bytes()[:-300])
    (folder / "11.bmp").write_bytes(b"")
    (folder / "12.png").symlink_to("nowhere.png")
    out = tmp_path / "p.csv"
    tally = run_over(runs[:1], [folder], out)
    found = rows_of(out)
    assert tally.unreadable == 4
    assert [row["error"][:20] for row in found[8:]] == [
        "not an image (text, ", "damaged or truncated", "empty file (0 bytes)",
        "can't be read: No su",
    ]  # fmt: skip
    assert all(row["predicted"] == row["p_hem"] == row["p_ALL"] == "" for row in found[8:])
    assert [row["p_ALL"] for row in found[:8]] == [row["p_ALL"] for row in rows_of(whole)[:8]]


def test_the_decision_of_the_run_is_used(pictures, whole, tmp_path):
    run = untrained_run(tmp_path / "run")
    chosen = {"part": "val", "images": 50, "weights": file_hash(run / "best.safetensors")}
    plain = chances(rows_of(whole))
    high = float(np.sort(plain[:, 1])[-4])
    decision = Decision(2.0, 0.5 + (high - 0.5) / 4, "sensitivity:0.95", "ALL", chosen,
                        ("hem", "ALL"))  # fmt: skip
    write_decision(run, decision)
    said = []
    predict_files([run], [str(pictures)], tmp_path / "p.csv", report=said.append)
    found = rows_of(tmp_path / "p.csv")
    cooled = plain**0.5 / (plain**0.5).sum(axis=1, keepdims=True)
    assert chances(found) == pytest.approx(cooled, abs=1e-12)
    wanted = np.where(cooled[:, 1] >= decision.threshold, "ALL", "hem")
    assert [row["predicted"] for row in found] == wanted.tolist()
    assert (wanted != [row["predicted"] for row in rows_of(whole)]).any()
    assert any("chosen on the validation part (50 images" in line for line in said)
    # Of views there is no such choice, which is said.
    predict_files([run], [str(pictures)], tmp_path / "v.csv", tta="flips", report=said.append)
    assert any("for its plain weights only" in line for line in said)


def test_several_runs_are_averaged_and_their_spread_is_told(runs, pictures, whole, tmp_path):
    run_over(runs[1:], [pictures], tmp_path / "two.csv")
    run_over(runs, [pictures], tmp_path / "both.csv")
    found = rows_of(tmp_path / "both.csv")
    each = np.stack([chances(rows_of(whole)), chances(rows_of(tmp_path / "two.csv"))])
    assert np.array_equal(chances(found), each.mean(axis=0))
    label = each.mean(axis=0).argmax(axis=1)
    spread = np.abs(each[0] - each[1])[np.arange(21), label] / np.sqrt(2)
    assert [float(row["spread"]) for row in found] == pytest.approx(spread.tolist())
    assert spread.max() > 0.01
    assert "spread" not in rows_of(whole)[0]


def test_runs_of_other_classes_do_not_vote(runs, pictures, tmp_path):
    other = untrained_run(tmp_path / "other", classes=("a", "b", "c"))
    with pytest.raises(CheckpointError, match=r"knows the classes a, b, c.*one hem, ALL"):
        run_over([runs[0], other], [pictures], tmp_path / "p.csv")
    assert not (tmp_path / "p.csv").exists()


def test_two_processes_do_not_write_one_table(runs, pictures, whole, tmp_path):
    from fastleuk.predict.table import Table

    out = tmp_path / "p.csv"
    out.write_bytes(whole.read_bytes())
    with (
        Table(out, ("hem", "ALL"), several=False),
        pytest.raises(CheckpointError, match="being written by another process"),
    ):
        run_over(runs[:1], [pictures], out, resume=True)


def test_a_parquet_table_holds_the_same(runs, pictures, whole, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    out = tmp_path / "p.parquet"
    run_over(runs[:1], [pictures], out)
    table = parquet.read_table(out)
    assert sorted(os.listdir(tmp_path)) == ["p.parquet", "p.parquet.json"]
    wanted = rows_of(whole)
    assert table.column_names == list(wanted[0])
    assert table["path"].to_pylist() == [row["path"] for row in wanted]
    assert table["p_ALL"].to_pylist() == [float(row["p_ALL"]) for row in wanted]
    assert json.loads(table.schema.metadata[b"fastleuk"])["finished"] is True
    # A killed one is gone on with from its rows.
    part = tmp_path / "q.parquet.partial.csv"
    part.write_bytes(b"".join(whole.read_bytes().splitlines(keepends=True)[:12]))
    tally = run_over(runs[:1], [pictures], tmp_path / "q.parquet", resume=True)
    assert tally.done == 21 - 8
    assert parquet.read_table(tmp_path / "q.parquet")["p_ALL"].equals(table["p_ALL"])


def test_views_change_the_probabilities_but_little(runs, pictures, whole, tmp_path):
    run_over(runs[:1], [pictures], tmp_path / "p.csv", tta="d4")
    found = chances(rows_of(tmp_path / "p.csv"))
    assert not np.array_equal(found, chances(rows_of(whole)))
    assert np.abs(found - chances(rows_of(whole))).max() < 0.5
    with pytest.raises(ConfigError, match="--tta is 'flip'"):
        run_over(runs[:1], [pictures], tmp_path / "q.csv", tta="flip")


def test_the_challenges_file_has_a_line_for_each_number(runs, pictures, whole, tmp_path):
    out = tmp_path / "out" / "p.csv"
    out.parent.mkdir()
    backwards = sorted(pictures.iterdir(), reverse=True)
    run_over(runs[:1], backwards, out, isbi=True)
    lines = (out.parent / "isbi_valid.predict").read_text().splitlines()
    # Other neighbours in a batch may move the last digit of a probability, not the label.
    assert lines == [str(int(row["predicted"] == "ALL")) for row in rows_of(whole)]
    assert {"0", "1"} == set(lines)


def test_the_challenges_file_is_not_written_with_a_gap(runs, pictures, tmp_path):
    some = [path for path in pictures.iterdir() if path.stem != "5"]
    with pytest.raises(DataError, match="5: missing"):
        run_over(runs[:1], some, tmp_path / "p.csv", isbi=True)
    assert not (tmp_path / "isbi_valid.predict").exists()
    assert len(rows_of(tmp_path / "p.csv")) == 20
    named = tmp_path / "cell_1.bmp"
    named.write_bytes((pictures / "3.bmp").read_bytes())
    with pytest.raises(DataError, match="its name is no number"):
        run_over(runs[:1], [named], tmp_path / "q.csv", isbi=True)
    three = untrained_run(tmp_path / "three", classes=("a", "b", "c"))
    with pytest.raises(ConfigError, match="has 3: a, b, c"):
        run_over([three], [pictures], tmp_path / "r.csv", isbi=True)
    nameless = untrained_run(tmp_path / "nameless", classes=("large", "small"))
    with pytest.raises(ConfigError, match="trained without --positive"):
        run_over([nameless], [pictures], tmp_path / "s.csv", isbi=True)


def test_scores_that_are_no_numbers_become_a_row_and_no_label(
    runs, pictures, whole, tmp_path, monkeypatch
):
    """Half precision can overflow for some images: no label is made up for them."""
    from fastleuk.predict.member import Member

    real = Member.logits

    def overflowing(self, pixels):
        found = real(self, pixels)
        found[1:3] = [[np.inf, np.inf], [np.nan, 0]]
        return found

    monkeypatch.setattr(Member, "logits", overflowing)
    out = tmp_path / "p.csv"
    tally = run_over(runs[:1], [pictures], out)
    found, sound = rows_of(out), rows_of(whole)
    bad = [row for row in found if row["error"]]
    assert tally.unreadable == len(bad) == 6  # two in each of three batches
    for row, plain in zip(found, sound, strict=True):
        if row["error"]:
            assert row["error"] == "the network's scores are no finite numbers"
            assert row["predicted"] == row["p_hem"] == row["p_ALL"] == ""
        else:
            assert row == plain
