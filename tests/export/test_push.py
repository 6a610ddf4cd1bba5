"""``fastleuk push``: what is uploaded, what is asked first, and what is refused."""

import json
import re
import socket

import pytest
import torch

from fastleuk.errors import CheckpointError, ConfigError, FastleukError
from fastleuk.export.push import push_run
from fastleuk.predict.member import Member
from fastleuk.report.run import card_run
from tests.makers.hub import ACCOUNT, TOKEN, a_hub
from tests.makers.protocol_runs import read_csv
from tests.makers.short_runs import short_run
from tests.makers.training_runs import quiet
from tests.makers.untrained_runs import untrained_run

FILES = {"config.json", "model.safetensors", "README.md"}


@pytest.fixture(scope="module")
def tested(cells, tmp_path_factory):
    """A run that was trained and tested; nothing may be changed in it."""
    return short_run(cells, tmp_path_factory.mktemp("tested") / "run")


@pytest.fixture
def hub(monkeypatch):
    """A hub, and a token for it."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with a_hub() as hub:
        yield hub


def _push(run, repo, hub, *, answer=True, **options):
    said, asked = [], []

    def confirm(question):
        asked.append((question, list(said)))
        return answer

    options.update(endpoint=hub.address if hub else None, report=said.append, confirm=confirm)
    found = push_run(run, repo, card=lambda: card_run(run), **options)
    return found, "\n".join(said), asked


def test_timm_loads_the_folder_of_a_dry_run_with_the_runs_own_logits(tested, tmp_path):
    import timm

    folder, said, asked = _push(tested, "lab/cells", None, dry_run=True, out=tmp_path / "folder")
    assert {file.name for file in folder.iterdir()} == FILES
    assert asked == []
    assert "Nothing was uploaded" in said
    network = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    images = torch.randn(4, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    member = Member(tested, device="cpu", report=quiet)
    for name, value in network.state_dict().items():
        assert torch.equal(value, member.model.state_dict()[name]), name
    with torch.inference_mode():
        assert torch.allclose(network(images), member.model(images), rtol=0, atol=1e-6)
    text = (folder / "README.md").read_text()
    assert text.startswith("---\n")
    assert "pipeline_tag: image-classification" in text
    assert 'timm.create_model("hf-hub:lab/cells", pretrained=True)' in text
    assert f"logits / {member.decision.temperature:.6g})" in text
    assert "large, small" in text


def test_neither_paths_nor_subjects_leave_this_machine(tested, cells, tmp_path):
    folder, *_ = _push(tested, "lab/cells", None, dry_run=True, out=tmp_path / "folder")
    rows = read_csv(tested / "split.csv")
    images = {row["path"].rsplit("/", 1)[-1] for row in rows}
    for file in FILES:
        content = (folder / file).read_bytes()
        for secret in (str(cells), str(tested), *images):
            assert secret.encode() not in content, (file, secret)


@pytest.mark.parametrize("private", [True, False])
def test_what_is_uploaded_is_what_a_dry_run_writes(tested, hub, tmp_path, private):
    address, said, ((_, before),) = _push(tested, "lab/cells", hub, private=private)
    repo = hub.repos["lab/cells"]
    assert repo["private"] is private
    folder, *_ = _push(tested, "lab/cells", None, dry_run=True, out=tmp_path / "folder")
    assert repo["files"] == {name: (folder / name).read_bytes() for name in FILES}
    assert address == f"{hub.address}/lab/cells/commit/{'1' * 40}"
    assert address in said
    # Before it was asked, all of this was told.
    told = "\n".join(before)
    sizes = {name: len(content) for name, content in repo["files"].items()}
    for name, size in {**sizes, "in all": sum(sizes.values())}.items():
        assert re.search(rf"{re.escape(name)} +{size / 1e6:.3f} MB", told)
    assert f"{hub.address}/lab/cells, a new repository" in told
    assert ("private: only" in told, "PUBLIC" in told) == (private, not private)
    assert f"as {ACCOUNT}" in told
    assert not (tested / "push").exists()


def test_a_no_uploads_nothing(tested, hub):
    found, said, asked = _push(tested, "cells", hub, answer=False)
    assert (found, len(asked)) == ("", 1)
    assert f"{hub.address}/{ACCOUNT}/cells" in said
    assert "Nothing was uploaded" in said
    assert hub.repos == {}
    assert not [each for each in hub.asked if each.startswith("POST")]


def test_a_repository_that_is_there_gets_a_commit_and_keeps_who_sees_it(tested, hub):
    hub.repos["lab/cells"] = {"private": False, "files": {"old.txt": b"1"}}
    with pytest.raises(ConfigError, match=r"there and public, but --private \(the default\)"):
        _push(tested, "lab/cells", hub)
    assert set(hub.repos["lab/cells"]["files"]) == {"old.txt"}
    _, said, _ = _push(tested, "lab/cells", hub, private=False)
    assert "a commit to the repository" in said
    assert set(hub.repos["lab/cells"]["files"]) == {"old.txt", *FILES}
    hub.repos["lab/cells"]["private"] = True
    with pytest.raises(ConfigError, match="there and private, but --public"):
        _push(tested, "lab/cells", hub, private=False)


def test_the_hubs_refusals_are_said(tested, hub, monkeypatch):
    with pytest.raises(FastleukError, match=r"does not let this account write to else/cells.*righ"):
        _push(tested, "else/cells", hub)
    monkeypatch.setenv("HF_TOKEN", "hf_" + "b" * 34)
    with pytest.raises(FastleukError, match=r"does not take the token.*hf auth login"):
        _push(tested, "lab/cells", hub)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(FastleukError, match=r"Nobody is logged in.*hf auth login.*HF_TOKEN"):
        _push(tested, "lab/cells", hub)
    assert hub.repos == {}


def test_without_a_network_it_is_said(tested, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        gone = type("Gone", (), {"address": f"http://127.0.0.1:{free.getsockname()[1]}"})
        with pytest.raises(FastleukError, match=r"127\.0\.0\.1:\d+ can't be reached.*--dry-run"):
            _push(tested, "lab/cells", gone)


@pytest.mark.parametrize("repo", ["a/b/c", "", "lab/ce lls", "https://huggingface.co/lab/cells"])
def test_what_is_no_repository_is_refused(tested, repo):
    with pytest.raises(ConfigError, match="must be OWNER/NAME"):
        _push(tested, repo, None, dry_run=True)


def test_a_run_that_was_not_tested_is_not_pushed(tmp_path, hub):
    run = untrained_run(tmp_path / "run")
    with pytest.raises(CheckpointError, match="evaluate"):
        _push(run, "lab/cells", hub)
    with pytest.raises(CheckpointError, match="not there"):
        _push(tmp_path / "none", "lab/cells", hub)
    assert hub.repos == {}


def test_the_command_asks_on_a_terminal_only(fastleuk, tested, tmp_path):
    code, _, error = fastleuk("push", tested, "lab/cells")
    assert code == 2
    assert "--yes" in error
    code, said, _ = fastleuk("push", tested, "lab/cells", "--dry-run", "--out", tmp_path / "f")
    assert code == 0
    assert json.loads((tmp_path / "f" / "config.json").read_text())["num_classes"] == 2
    assert f"The folder: {tmp_path / 'f'}" in said
    code, _, error = fastleuk("push", tested, "lab/cells", "--yes", "--out", tmp_path / "f")
    assert code == 2
    assert "--out is for --dry-run" in error
