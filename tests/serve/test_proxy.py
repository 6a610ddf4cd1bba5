"""Behind a proxy: names, paths, and clients that ask otherwise than the page."""

import json
import re

import pytest

from fastleuk.errors import ConfigError
from fastleuk.serve.app import PAGES
from fastleuk.serve.run import serve_runs
from tests.makers.servers import Client, form, picture, serving
from tests.makers.training_runs import quiet

GET = [f"/{page}" for page in PAGES] + ["/health", "/info", "/metrics", "/openapi.json"]


@pytest.fixture(scope="module")
def proxied(run):
    """A server behind a proxy that has names of its own, and a path."""
    with serving([run], hosts=["cells.lab.example", "*.ward.example"], root_path="/a/cells") as it:
        yield it


@pytest.mark.parametrize("host", ["evil.example", "cells.lab.example:443", "xn--a", "<b>", ""])
def test_a_foreign_host_is_refused_with_the_ways_out(server, host):
    status, headers, body = server.ask("GET", "/health", Host=host)
    assert (status, headers["content-type"]) == (400, "application/json")
    detail = json.loads(body)["detail"]
    for option in ("--allowed-hosts", "--token", "--root-path /PREFIX", "--host ADDRESS"):
        assert option in detail
    assert ("NAME" in detail) == (host in ("<b>", ""))
    assert "<" not in detail


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("cells.lab.example", 200),
        ("Cells.Lab.Example:8443", 200),
        ("b.ward.example", 200),
        ("c.b.ward.example", 200),
        ("localhost:1", 200),
        ("ward.example", 400),
        ("evilward.example", 400),
        ("cells.lab.example.evil.example", 400),
    ],
)
def test_allowed_names_are_let_in(proxied, host, status):
    assert proxied.ask("GET", "/health", Host=host)[0] == status


@pytest.mark.parametrize("path", GET)
def test_head_is_answered_wherever_get_is(server, path):
    status, headers, body = server.ask("HEAD", path)
    assert (status, body) == (200, b"")
    found = server.ask("GET", path)
    assert headers["content-type"] == found[1]["content-type"]
    if path != "/metrics":  # counts these very requests
        assert headers["content-length"] == found[1]["content-length"] == str(len(found[2]))
    assert server.ask("HEAD", "/predict")[0] == 405
    assert server.ask("HEAD", "/nowhere")[0] == 404


@pytest.mark.parametrize("prefix", ["", "/a/cells"], ids=["taken off", "left"])
def test_a_path_in_front_is_served_whether_the_proxy_takes_it_off_or_not(proxied, prefix):
    for path in GET:
        assert proxied.ask("GET", prefix + path)[0] == 200, path
    body, kind = form([("a.png", picture())])
    status, _, answer = proxied.ask("POST", f"{prefix}/predict", body, **{"Content-Type": kind})
    assert status == 200
    assert json.loads(answer)["predictions"][0]["label"] in ("hem", "ALL")
    assert proxied.get(f"{prefix}/openapi.json")[1]["servers"] == [{"url": "/a/cells"}]


def test_the_page_without_its_slash_is_redirected(proxied):
    status, headers, _ = proxied.ask("GET", "/a/cells")
    assert (status, headers["location"]) == (307, "/a/cells/")
    assert proxied.ask("GET", "/a/cellsier")[0] == 404


def test_requests_under_a_path_are_counted_by_route(proxied):
    proxied.ask("GET", "/a/cells/health")
    text = proxied.ask("GET", "/a/cells/metrics")[2].decode()
    assert re.search(r'path="/health",status="200"} [1-9]', text)
    assert 'path="/a/cells/health"' not in text


def test_the_page_asks_for_relative_addresses_only(server):
    for path in ("/", "/script.js"):
        body = server.ask("GET", path)[2].decode()
        found = re.findall(r"""(?:ask|fetch)\([`"']([^`"'$?]*)|(?:src|href)="([^"]+)\"""", body)
        for address in (one or other for one, other in found):
            assert not address.startswith("/"), address


def test_curls_content_type_is_explained(server):
    status, _, body = server.ask(
        "POST", "/predict", picture(), **{"Content-Type": "application/x-www-form-urlencoded"}
    )
    assert status == 415
    detail = json.loads(body)["detail"]
    assert "-F images=@cell.png" in detail
    assert "-H 'Content-Type: image/png'" in detail


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"allowed_hosts": ["https://a.example"]}, "--allowed-hosts: 'https://a.example'"),
        ({"allowed_hosts": ["a.example:80"]}, "without a port"),
        ({"allowed_hosts": ["*"]}, "--token lets any name in"),
        ({"root_path": "https://a.example/cells"}, "--root-path: 'https://a.example/cells'"),
        ({"root_path": "/a b"}, "--root-path"),
    ],
)
def test_names_and_paths_that_make_no_sense_are_refused(run, options, says):
    with pytest.raises(ConfigError, match=re.escape(says)):
        serve_runs([run], port=0, report=quiet, **options)


def test_a_token_lets_any_name_in(run):
    with serving([run], token="secret-1") as client:
        assert (
            Client(client.port, token="secret-1").ask("GET", "/info", Host="any.example")[0] == 200
        )
