"""The README's Python runs as it stands, top to bottom, in a folder with photographs."""

import re

import numpy as np
import pytest
import torch

from fastleuk.loading import has_dali
from tests.makers.cells import PROJECT


@pytest.fixture
def photos(tmp_path, monkeypatch):
    from PIL import Image

    rng = np.random.default_rng(0)
    for name in ("cats", "dogs"):
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for number in range(6):
            pixels = rng.integers(0, 256, (90 + number, 120, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.jpg")
    monkeypatch.chdir(tmp_path)


@pytest.mark.skipif(not has_dali(), reason="NVIDIA DALI is not installed")
@pytest.mark.usefixtures("photos")
def test_the_readmes_python_runs():
    text = (PROJECT / "README.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert len(blocks) == 4
    scopes = []
    for block in blocks:
        scope = {}
        exec(compile(block, "README.md", "exec"), scope)
        scopes.append(scope)
    pipeline, loader, arrays, interval = scopes
    assert pipeline["batch"].shape == (8, 224, 224, 3)
    assert pipeline["batch"].dtype == torch.float32
    assert loader["images"].shape == (8, 3, 224, 224)
    assert loader["labels"].shape == (8,)
    assert interval["interval"].clusters == 30
    assert interval["interval"].low < interval["interval"].estimate < interval["interval"].high
    assert np.abs(arrays["fused"] - arrays["truth"]).mean() < 20


def test_every_command_in_the_readme_exists():
    from typer.main import get_command

    from fastleuk.cli import app

    command = get_command(app)
    text = (PROJECT / "README.md").read_text()
    text = re.sub(r"^(torchrun|srun) .*? (?=(-m )?fastleuk )", "", text, flags=re.MULTILINE)
    used = set(re.findall(r"fastleuk ([a-z][a-z-]+)", text))
    assert used
    assert used == set(command.commands)
    options = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text))
    known = {name for sub in command.commands.values() for p in sub.params for name in p.opts}
    assert options <= known | {"--help"}, options - known
