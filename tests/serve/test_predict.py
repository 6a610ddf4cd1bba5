"""The JSON endpoint: what it says, and how it refuses."""

import io
import json
import os
import socket
import struct
import tempfile
import zlib

import numpy as np
import pytest
from PIL import Image

import fastleuk
from fastleuk.serve.limits import Limits
from tests.makers.servers import form, picture, serving
from tests.makers.untrained_runs import untrained_run


@pytest.fixture(scope="module")
def small(run):
    """A server with narrow limits."""
    limits = Limits(images=5, image_mb=0.05, request_mb=0.2, megapixels=0.01, seconds=0.5)
    with serving([run], limits=limits) as client:
        yield client


def test_it_says_what_predict_says(server, run):
    cells = [picture(seed, 40 + seed, ("PNG", "BMP", "JPEG")[seed % 3]) for seed in range(20)]
    status, told = server.post("/predict", [(f"{i}.x", cell) for i, cell in enumerate(cells)])
    assert status == 200
    assert "not for diagnosis" in told["use"]
    with fastleuk.load(run) as loaded:
        wanted = loaded.predict(cells)
    rows = told["predictions"]
    assert [row["name"] for row in rows] == [f"{i}.x" for i in range(20)]
    assert [row["label"] for row in rows] == wanted.labels
    found = np.array([[row["probabilities"][name] for name in ("hem", "ALL")] for row in rows])
    assert found == pytest.approx(wanted.probabilities, abs=1e-4)
    assert {"hem", "ALL"} == set(wanted.labels)
    assert all(row["spread"] is None and not row["error"] for row in rows)


def test_one_image_may_be_the_body(server):
    cell = picture(3)
    _, alone = server.post("/predict", [("a", cell)])
    for kind in ("image/png", "application/octet-stream", "image/anything; x=1"):
        status, _, body = server.ask("POST", "/predict", cell, **{"Content-Type": kind})
        assert status == 200
        (row,) = json.loads(body)["predictions"]
        assert row["probabilities"] == pytest.approx(alone["predictions"][0]["probabilities"])


def test_what_is_no_image_has_its_reason_beside_those_that_are(server):
    deep = io.BytesIO()
    Image.fromarray(np.zeros((20, 20), np.uint16)).save(deep, format="PNG")
    clear = io.BytesIO()
    Image.new("RGBA", (20, 20), (5, 5, 5, 100)).save(clear, format="PNG")
    files = [("text.png", b"only text"), ("good.png", picture()), ("empty.bmp", b""),
             ("deep.png", deep.getvalue()), ("cut.png", picture()[:-200]),
             ("clear.png", clear.getvalue()), ("evil.svg", b"<svg><script/></svg>")]  # fmt: skip
    status, told = server.post("/predict", files)
    assert status == 200
    errors = [row["error"] for row in told["predictions"]]
    assert [bool(error) for error in errors] == [True, False, True, True, True, False, True]
    assert errors[0].startswith("not an image")
    assert "16 bits a channel" in errors[3]
    assert told["predictions"][5]["note"] == "transparent parts, laid over black"
    status, told = server.post("/predict", [files[0], files[2]])
    assert status == 422
    assert [row["label"] for row in told["predictions"]] == [None, None]


def bomb(side):
    """A PNG whose header promises a square of zeros, in a few kilobytes."""

    def chunk(kind, data):
        whole = kind + data
        return struct.pack(">I", len(data)) + whole + struct.pack(">I", zlib.crc32(whole))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(b"\0" * 1_000_000, 9))
    return b"\x89PNG\r\n\x1a\n" + head + data + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [2_500, 12_000, 60_000])
def test_a_bomb_is_not_decoded(server, side):
    before = server.service.ensemble.batch_size
    status, told = server.post("/predict", [("bomb.png", bomb(side))])
    assert status == 422
    error = told["predictions"][0]["error"]
    assert "pixels" in error
    assert server.service.ensemble.batch_size == before
    assert server.get("/health") == (200, {"status": "ok"})


def test_limits_are_kept_and_named(small):
    many = [(f"{i}.png", b"x") for i in range(6)]
    status, told = small.post("/predict", many)
    assert (status, told["detail"]) == (
        413,
        "A request holds at most 5 images: send them in several.",
    )
    status, told = small.post("/predict", [("a.png", picture()), ("b.png", bytes(60_000))])
    assert status == 200
    assert told["predictions"][1]["error"] == "0.1 MB: an image may have 0.05 MB"
    status, told = small.post("/predict", [("a.png", picture(side=120))])
    assert status == 422
    assert "120x120 pixels: an image may have 0.01 million" in told["predictions"][0]["error"]
    status, told = small.post("/predict", [("a.png", bytes(300_000))])
    assert (status, "at most 0.2 MB" in told["detail"]) == (413, True)


@pytest.mark.parametrize(
    ("body", "headers", "status", "reason"),
    [
        (bytes(100 << 20), {"Content-Type": "image/png"}, 413, "at most 64 MB"),
        (b"x" * (30 << 20), {"Content-Type": "text/plain"}, 415, "text/plain"),
    ],
)
def test_who_sends_all_before_reading_is_told_the_reason(server, body, headers, status, reason):
    found, _, told = server.ask("POST", "/predict", body, **headers)
    assert found == status
    assert reason in json.loads(told)["detail"]
    assert server.service.budget.held == 0


def test_ten_thousand_files_are_refused_with_the_reason(server):
    cell = picture(0, 20)
    files = [(f"{number}.png", cell) for number in range(10_000)]
    status, told = server.post("/predict", files)
    assert (status, told["detail"]) == (
        413, "A request holds at most 100 images: send them in several."
    )  # fmt: skip
    assert server.service.budget.held == 0


def test_a_client_that_asks_first_sends_nothing(server):
    head = (f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\n"
            f"Content-Length: {100 << 20}\r\nExpect: 100-continue\r\n\r\n")  # fmt: skip
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        client.sendall(head.encode())
        assert client.recv(4096).startswith(b"HTTP/1.1 413")


def test_a_body_of_unknown_length_is_cut_off_at_the_limit(small):
    head = "POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\n"
    with socket.create_connection(("127.0.0.1", small.port), timeout=30) as client:
        client.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        for _ in range(5):  # 250 kB, and it does not end
            client.sendall(b"c350\r\n" + bytes(50_000) + b"\r\n")
        assert client.recv(4096).startswith(b"HTTP/1.1 413")
    assert small.service.budget.held == 0
    assert small.get("/health")[0] == 200


def test_a_body_that_does_not_go_on_is_given_up(small):
    head = "POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\n"
    with socket.create_connection(("127.0.0.1", small.port), timeout=30) as slow:
        slow.sendall(f"{head}Content-Length: 5000\r\n\r\nbegin".encode())
        assert slow.recv(4096).startswith(b"HTTP/1.1 408")
    with socket.create_connection(("127.0.0.1", small.port), timeout=30) as gone:
        gone.sendall(f"{head}Content-Length: 5000\r\n\r\nbegin".encode())
    assert small.get("/health")[0] == 200
    assert small.service.budget.held == 0


@pytest.mark.parametrize(
    ("kind", "body", "status", "reason"),
    [
        ("text/plain", b"text", 415, "text/plain"),
        ("application/json", b"{}", 415, "application/json"),
        ("", b"x", 415, "missing"),
        ("image/png", b"", 400, "body is empty"),
        ("multipart/form-data", b"x", 400, "boundary"),
        ("multipart/form-data; boundary=z", b"no parts at all", 400, "no sound multipart"),
        ("multipart/form-data; boundary=z", b"--z--\r\n", 400, "no file in the request"),
    ],
)
def test_what_is_no_upload_is_refused(server, kind, body, status, reason):
    found, _, told = server.ask("POST", "/predict", body, **{"Content-Type": kind})
    assert found == status
    assert reason in json.loads(told)["detail"]


def test_names_are_only_repeated(server):
    names = ["../../etc/passwd", "a/b\\c.png", "ä\u2028<b>.png", "%00.png", ""]
    status, told = server.post("/predict", [(name, picture()) for name in names])
    assert status == 200
    found = [row["name"] for row in told["predictions"]]
    assert found[:3] == names[:3]


def test_a_token_guards_everything_but_health_and_the_page(run):
    with serving([run], token="secret-1") as client:
        client.token = ""
        assert client.get("/health")[0] == 200
        assert client.ask("GET", "/")[0] == 200
        for path in ("/info", "/metrics"):
            status, headers, _ = client.ask("GET", path)
            assert (status, headers["www-authenticate"]) == (401, "Bearer")
        for shown in (
            "Bearer",
            "Bearer wrong",
            "Basic secret",
            "Bearer secret",
            "Bearer secret-1x",
        ):
            status, told = client.post("/predict", [("a", picture())], Authorization=shown)
            assert status == 401
            assert "token" in told["detail"]
        client.token = "secret-1"
        assert client.post("/predict", [("a", picture())])[0] == 200


def test_other_names_of_the_server_are_refused(server):
    assert server.ask("GET", "/health", Host="evil.example")[0] == 400
    assert server.ask("GET", "/health", Host="localhost:1")[0] == 200


def test_several_runs_tell_their_spread(run, tmp_path):
    other = untrained_run(tmp_path / "other", seed=1)
    with serving([run, other]) as client:
        status, told = client.post("/predict", [("a.png", picture(1))])
        assert status == 200
        assert told["predictions"][0]["spread"] >= 0
        _, about = client.get("/info")
        assert about["runs"] == ["cells-1", "other"]


def test_openapi_describes_what_is_there(server):
    _, told = server.get("/openapi.json")
    assert set(told["paths"]) == {"/health", "/info", "/metrics", "/predict", "/explain"}
    predict = told["paths"]["/predict"]["post"]
    body = predict["requestBody"]["content"]
    assert body["multipart/form-data"]["schema"]["properties"]["images"]["type"] == "array"
    assert {"200", "413", "415", "422", "503"} <= set(
        told["paths"]["/predict"]["post"]["responses"]
    )
    assert "not for diagnosis" in told["info"]["description"]


def test_nothing_is_written(server, run, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    large = io.BytesIO()  # beyond the megabyte at which uploads usually go to a file
    noise = np.random.default_rng(0).integers(0, 256, (1100, 1100, 3), dtype=np.uint8)
    Image.fromarray(noise).save(large, format="PNG")
    assert len(large.getvalue()) > 3 << 20
    opened = []

    def spill(**options):
        opened.append(options)
        return io.BytesIO()

    monkeypatch.setattr(tempfile, "TemporaryFile", spill)
    assert server.post("/predict", [("large.png", large.getvalue()), ("x", b"text")])[0] == 200
    assert opened == []
    assert os.listdir(tmp_path) == []
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def test_a_form_is_read_as_it_was_sent():
    body, kind = form([("a.png", b"1\r\n--2"), ("b.png", b"")])
    assert body.count(kind.split("boundary=")[1].encode()) == 3
