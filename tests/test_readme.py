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
    (block,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    scope = {}
    exec(compile(block, "README.md", "exec"), scope)
    pipeline = scope["training_pipeline"]("photos")
    pipeline.build()
    images, labels = pipeline.run()
    batch = torch.from_dlpack(images.as_tensor())
    assert batch.shape == (8, 224, 224, 3)
    assert batch.dtype == torch.float32
    assert abs(float(batch.mean())) < 3
    assert set(torch.from_dlpack(labels.as_tensor()).flatten().tolist()) <= {0, 1}


def test_every_command_in_the_readme_exists():
    from typer.main import get_command

    from fastleuk.cli import app

    command = get_command(app)
    text = (PROJECT / "README.md").read_text()
    text = re.sub(r"^(torchrun|srun) .*? (?=(-m )?fastleuk )", "", text, flags=re.MULTILINE)
    used = set(re.findall(r"fastleuk ([a-z][a-z-]+)", text))
    assert {"train", "data", "report", "predict", "doctor"} <= used
    assert used <= set(command.commands)
    others = text[text.index("Beside these") : text.index("and more")]
    named = set(re.findall(r"`([a-z][a-z-]+)`", others))
    assert {"evaluate", "explain", "push"} <= named <= set(command.commands)
    options = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text))
    known = {name for sub in command.commands.values() for p in sub.params for name in p.opts}
    assert options <= known | {"--help"}, options - known
