"""What is served beside predictions, and how a server is started."""

import os
import re
import signal
import socket
import subprocess
import sys

import pytest

from fastleuk.errors import CheckpointError, ConfigError, FastleukError, MissingDependencyError
from fastleuk.evaluation.decision import Decision, file_hash, write_decision
from fastleuk.serve.limits import Limits
from fastleuk.serve.run import is_loopback, listen, serve_runs
from tests.makers.cells import PROJECT
from tests.makers.servers import Client, picture, serving
from tests.makers.training_runs import quiet
from tests.makers.untrained_runs import untrained_run


def test_it_says_how_a_label_comes_about(server, tmp_path):
    _, about = server.get("/info")
    assert about["classes"] == ["hem", "ALL"]
    assert about["threshold"] is None
    assert about["calibration"].startswith("Not calibrated")
    run = untrained_run(tmp_path / "run")
    chosen = {"part": "val", "images": 40, "weights": file_hash(run / "best.safetensors")}
    write_decision(run, Decision(1.7, 0.45, "youden", "ALL", chosen, ("hem", "ALL")))
    with serving([run]) as client:
        _, about = client.get("/info")
        assert (about["positive"], about["threshold"]) == ("ALL", 0.45)
        assert "chosen on the validation part (40 images" in about["label_rule"]
        assert "temperature 1.70" in about["calibration"]


def test_the_page_asks_nobody_else_for_anything(server):
    for path, kind in (
        ("/", "text/html"),
        ("/style.css", "text/css"),
        ("/script.js", "javascript"),
    ):
        status, headers, body = server.ask("GET", path)
        assert status == 200
        assert kind in headers["content-type"]
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        urls = re.findall(rb"https?://[^\"' ]+", body)
        assert set(urls) <= {b"http://www.w3.org/2000/svg"}
    assert server.ask("GET", "/docs")[0] == 404
    assert server.ask("GET", "/../fastleuk/serve/run.py")[0] == 404


def test_metrics_are_prometheus_text(server):
    server.post("/predict", [("x", picture())])
    server.ask("GET", "/somewhere/else")
    status, headers, body = server.ask("GET", "/metrics")
    assert status == 200
    assert headers["content-type"].startswith("text/plain; version=0.0.4")
    samples = {}
    for line in body.decode().splitlines():
        if line.startswith("#"):
            assert re.fullmatch(r"# (HELP|TYPE) fastleuk_\w+ .+", line)
            continue
        name, value = re.fullmatch(
            r'(fastleuk_\w+(?:\{[\w"=,./+]+\})?) ([0-9.e+-]+)', line
        ).groups()
        samples[name] = float(value)
    assert samples['fastleuk_requests_total{path="other",status="404"}'] >= 1
    count = samples["fastleuk_predict_seconds_count"]
    assert samples['fastleuk_predict_seconds_bucket{le="+Inf"}'] == count >= 1
    buckets = [v for name, v in samples.items() if "_bucket{" in name]
    assert buckets == sorted(buckets)
    assert samples["fastleuk_waiting_images"] == 0
    assert samples["fastleuk_resident_bytes"] > 10_000_000


def test_a_heat_map_is_a_picture_of_the_class_that_was_asked_for(server):
    pytest.importorskip("pytorch_grad_cam", reason="grad-cam is not installed")
    cell = picture(4)
    found = {}
    for target in ("hem", "ALL"):
        status, told = server.post(f"/explain?target={target}", [("x", cell)])
        assert status == 200
        assert told["target"] == target
        assert told["image"].startswith("data:image/png;base64,")
        assert told["inside"] is None or 0 <= told["inside"] <= 1
        found[target] = told["overlay"]
    assert found["hem"] != found["ALL"]
    # The network that predicts is untouched by it.
    assert server.post("/predict", [("x", cell)]) == server.post("/predict", [("x", cell)])


def test_a_heat_map_of_anything_else_is_refused(server):
    pytest.importorskip("pytorch_grad_cam", reason="grad-cam is not installed")
    status, told = server.post("/explain?target=tumour", [("x", picture())])
    assert (status, "must be one of hem, ALL" in told["detail"]) == (422, True)
    status, told = server.post("/explain?target=ALL", [("x", b"text")])
    assert (status, told["detail"].startswith("not an image")) == (422, True)
    status, told = server.post("/explain?target=ALL", [("x", picture()), ("y", picture())])
    assert (status, "2 were sent" in told["detail"]) == (422, True)
    assert server.post("/explain", [("x", picture())])[0] == 422


@pytest.mark.parametrize(
    ("options", "error", "reason"),
    [
        ({"host": "0.0.0.0"}, ConfigError, "lets other machines in: give a --token"),
        ({"host": "::"}, ConfigError, "lets other machines in"),
        ({"port": 70_000}, ConfigError, "between 0 and 65535"),
        ({"queue": -1}, ConfigError, "--queue"),
        ({"token": "two words"}, ConfigError, "no spaces"),
        ({"host": "192.0.2.1", "token": "x"}, FastleukError, "Can't listen at 192.0.2.1"),
    ],
)
def test_options_that_make_no_sense_are_refused(run, options, error, reason):
    with pytest.raises(error, match=reason):
        serve_runs([run], report=quiet, **{"port": 0, **options})


def test_limits_must_be_above_zero_and_runs_be_there(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="--max-image-mb is 0"):
        Limits(image_mb=0)
    with pytest.raises(CheckpointError, match="no such run folder"):
        serve_runs([tmp_path / "nowhere"], port=0, report=quiet)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(MissingDependencyError, match=r"fastapi, uvicorn.*fastleuk\[serve\]"):
        serve_runs([tmp_path], port=0, report=quiet)


def test_an_address_in_use_is_named():
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(FastleukError, match=f"port {port}: Address already in use"):
            listen("127.0.0.1", port)
    assert is_loopback("127.0.0.2")
    assert is_loopback("::1")
    assert not is_loopback("10.0.0.1")


@pytest.mark.slow
def test_the_command_serves_until_it_is_interrupted(run, tmp_path):
    command = [sys.executable, "-m", "fastleuk", "serve", str(run), "--port", "0"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=tmp_path,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(PROJECT),
             "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    try:
        said = []
        for line in process.stdout:
            said.append(line)
            if "Nothing that is sent" in line:
                break
        (address,) = re.findall(r"http://127\.0\.0\.1:(\d+) ", "".join(said))
        client = Client(int(address))
        assert client.post("/predict", [("x", picture())])[0] == 200
        with socket.create_connection(("127.0.0.1", int(address))):
            process.send_signal(signal.SIGINT)
            assert process.wait(60) in (0, 130)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert os.listdir(tmp_path) == []
