"""What a terminal, a log file and a full disk see of the command line."""

import os
import subprocess
import sys

import pytest

from fastleuk.config import Config, DataConfig
from fastleuk.errors import ConfigError, FastleukError
from fastleuk.run_log import RunLog, logged, open_log, result
from fastleuk.training.distributed import join as distributed
from fastleuk.training.distributed import launch
from tests.makers.training_runs import small_options

QUICK = [*small_options(), "--epochs", "1"]


@pytest.mark.parametrize(("encoding", "shown"), [("ascii", b"- x \\xfc \\xe9"), ("utf-8", None)])
def test_every_line_is_out_at_once_in_whatever_the_terminal_can_show(encoding, shown):
    script = """if True:
        import os, sys
        from fastleuk.cli.app import main
        sys.argv = ["fastleuk", "--version"]
        try:
            main()
        except SystemExit:
            pass
        print("– × ü \\udce9")
        os._exit(0)  # killed: nothing is flushed any more
    """
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUNBUFFERED": ""}
    command = [sys.executable, "-c", script]
    said = subprocess.run(command, env=environment, capture_output=True, check=True).stdout
    shown = shown or "– × ü \\xe9".encode()
    assert said.splitlines()[-1] == shown


# The log


def test_the_log_keeps_what_is_printed_and_quiet_prints_figures_alone(fastleuk, cells, tmp_path):
    out = tmp_path / "run"
    code, said, error = fastleuk("train", "--data", cells, "--out", out, *QUICK)
    assert code == 0, error
    log = (out / "log.txt").read_text()
    assert log.startswith("# ")
    assert f"--out {out}" in log.splitlines()[0]
    assert said.splitlines() == log.splitlines()[1:]
    code, said, _ = fastleuk("evaluate", out, "--part", "val")
    assert code == 0
    again = (out / "log.txt").read_text()
    assert again.startswith(log)
    assert said.splitlines() == again[len(log) :].splitlines()[1:]
    code, quietly, error = fastleuk("evaluate", out, "--part", "val", "--quiet")
    assert (code, error) == (0, "")
    assert quietly.strip() in said
    assert "accuracy" in quietly


def test_an_error_is_the_logs_last_line(tmp_path):
    @logged
    def run(*, report):
        report("before")
        open_log(report, tmp_path)
        report("within")
        raise ConfigError("too hot")

    heard = []
    with pytest.raises(ConfigError):
        run(report=heard.append)
    assert heard == ["before", "within"]
    lines = (tmp_path / "log.txt").read_text().splitlines()
    assert lines[1:] == ["before", "within", "error: too hot"]


def test_an_unexpected_error_is_logged_with_its_traceback(tmp_path):
    @logged
    def run(*, report):
        open_log(report, tmp_path)
        return 1 // 0

    with pytest.raises(ZeroDivisionError):
        run(report=lambda _: None)
    assert "ZeroDivisionError" in (tmp_path / "log.txt").read_text()


def test_a_log_that_cannot_be_written_ends_no_run(tmp_path):
    heard = []
    log = RunLog(heard.append)
    log.open(tmp_path / "nowhere")
    log("on")
    result(log, "figures")
    assert heard[1:] == ["on", "figures"]
    assert "log.txt" in heard[0]


def test_a_log_on_a_full_disk_is_given_up_with_a_note(tmp_path):
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    (tmp_path / "log.txt").symlink_to("/dev/full")
    heard = []
    log = RunLog(heard.append)
    log.open(tmp_path)
    log("on")
    log("and on")
    log.close()
    assert [text for text in heard if "log.txt" not in text] == ["on", "and on"]
    assert sum("No space left" in text for text in heard) == 1


# Options anywhere


@pytest.mark.parametrize(
    "arguments",
    [
        ["--debug", "evaluate", "/no/run"],
        ["evaluate", "/no/run", "--debug"],
        ["train", "--resume", "/no/run", "--debug"],
    ],
)
def test_debug_stands_before_or_behind_the_command(fastleuk, arguments):
    with pytest.raises(FastleukError):
        fastleuk(*arguments)


@pytest.mark.parametrize(
    "given",
    [
        ["train", "--data=~/x", *QUICK],
        ["train", "--resume=~/x"],
        ["train", "--config=~/x"],
        ["evaluate", "~/x"],
        ["runs", "~/x"],
        ["bench-pipeline", "--data=~/x"],
    ],
)
def test_a_tilde_is_the_home_in_every_path(fastleuk, monkeypatch, tmp_path, given):
    monkeypatch.setenv("HOME", str(tmp_path))
    code, said, error = fastleuk(*given)
    assert code == 2
    assert f"{tmp_path}/x" in error + said
    assert "~" not in error + said


def test_a_tilde_is_the_home_in_a_configuration(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    given = {"data": "data", "run": "out", "loader": "cache", "augment": "augment"}
    given |= {"model": "weights"}
    text = "".join(f'[{section}]\n{key} = "~/{key}.toml"\n' for section, key in given.items())
    config = Config.from_toml(text + 'backbone = "local-dir:~/b"\n')
    for section, key in given.items():
        assert getattr(getattr(config, section), key) == f"{tmp_path}/{key}.toml"
    assert config.model.backbone == f"local-dir:{tmp_path}/b"
    assert DataConfig(subject_regex="~(.)").subject_regex == "~(.)"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["train", "--val-fraction", "0.5", "--test-fraction", "0.5"], "nothing is left to train"),
        (["train", "--size", "100000"], "--size"),
        (["train", "--batch-size", "1000000000"], "--batch-size 1000000000"),
        (["compare", "a", "b", "--seed", "-1"], "--seed"),
        (["gallery", "--out", "g.png", "--seed", "-1"], "--seed"),
        (["pack", "x", "--seed", "-1"], "--seed"),
    ],
)
def test_what_can_be_known_is_refused_before_the_data_are_read(fastleuk, arguments, says):
    if arguments[0] == "train":
        arguments += ["--data", "/no/data", "--backbone", "test_resnet", "--weights", "none"]
    code, _, error = fastleuk(*arguments)
    assert code == 2
    assert says in error
    assert "Traceback" not in error
    assert "/no/data" not in error


def test_fractions_of_a_fold_need_not_leave_room_for_a_test_part():
    assert DataConfig(split="fold:0", val_fraction=0.5, test_fraction=0.5).val_fraction == 0.5


@pytest.mark.parametrize(
    ("command", "inner", "says"),
    [
        (["runs"], "fastleuk.tracking.runs.find_runs", "Nothing was left"),
        (["evaluate", "x"], "fastleuk.evaluation.evaluate.evaluate_run", "No figures were written"),
        (["pack", "x"], "fastleuk.data.from_config.open_dataset", "No shards were left"),
    ],
)
def test_ctrl_c_says_what_was_left(fastleuk, monkeypatch, command, inner, says):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(inner, interrupted)
    code, _, error = fastleuk(*command)
    assert code == 130
    assert error.startswith("Stopped. ")
    assert says in error


# A picture that nobody asked for


def test_compare_replaces_only_its_own_picture(fastleuk, monkeypatch, tmp_path):
    from PIL import Image

    from fastleuk.evaluation.plots import new_figure, save_figure

    monkeypatch.chdir(tmp_path)
    drawn = []
    monkeypatch.setattr(
        "fastleuk.tracking.compare.compare_runs", lambda *_, out, **__: drawn.append(str(out))
    )
    assert fastleuk("compare", "a", "b")[0] == 0
    Image.new("RGB", (9, 9)).save("compare.png")
    code, _, error = fastleuk("compare", "a", "b")
    assert code == 2
    assert "--out" in error
    assert fastleuk("compare", "a", "b", "--out", "compare.png")[0] == 0
    save_figure(new_figure(1, 1), tmp_path / "compare.png", synthetic=False)
    assert fastleuk("compare", "a", "b")[0] == 0
    assert drawn == ["compare.png"] * 3


# Shells of SLURM

STEP = {"SLURM_STEP_ID": "0", "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "4"}


def test_a_command_typed_into_a_shell_of_slurm_is_a_process_of_its_own(monkeypatch):
    monkeypatch.setattr(launch, "_parent", lambda: ["-bash"])
    assert launch.find_launch(STEP).world_size == 1
    monkeypatch.setattr(launch, "_parent", lambda: ["slurmstepd: [77.0]"])
    assert launch.find_launch(STEP).world_size == 4


def test_the_process_above_is_read():
    script = "from fastleuk.training.distributed.launch import _parent; print(_parent())"
    command = f'"{sys.executable}" -c "{script}"; true'
    said = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout
    assert said.startswith("['sh', '-c',")


def test_a_process_that_waits_for_others_says_so(monkeypatch, capsys):
    from datetime import timedelta

    monkeypatch.setattr(distributed, "SOON", 0.1)
    monkeypatch.setattr(distributed, "TIMEOUT", timedelta(seconds=1))
    for name in ("MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.setenv(name, "")
    alone = launch.Launch(
        rank=0, world_size=2, launcher="srun", address=("localhost", 20000 + os.getpid() % 9999)
    )
    with pytest.raises(ConfigError, match="could not meet"):
        distributed._meet(alone)
    error = capsys.readouterr().err
    assert "Process 0 of 2 (by srun) waits at localhost" in error
    assert "SLURM_STEP_ID" in error
