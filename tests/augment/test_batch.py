"""Arrays and tensors in, arrays and tensors out; what doesn't fit is refused."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from fastleuk.augment import (
    APPLIERS,
    PAPER,
    Augment,
    AugmentCollate,
    augment_batch,
    draw,
    param_arrays,
    param_names,
)
from fastleuk.augment.batch import fastest_applier
from fastleuk.augment.gpu.selftest import Verdict
from fastleuk.errors import ConfigError
from fastleuk.loading import resolve_applier
from tests.makers.augment_images import COMPILED, needs_numba

EVERY = [COMPILED, *(a for a in APPLIERS if not a.startswith("compiled"))]

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (5, 40, 60, 3), dtype=np.uint8)
PARAMS = draw(PAPER, seed=1, epoch=0, indices=np.arange(5), size=32)


@pytest.mark.parametrize("applier", EVERY)
def test_normalisation_layout_and_dtype(applier):
    levels = augment_batch(IMAGES, PARAMS, size=32, applier=applier, normalize=False)
    assert levels.shape == (5, 32, 32, 3)
    assert levels.dtype == np.float32
    mean, std = np.array([0.1, 0.2, 0.3]), np.array([0.5, 0.25, 1.0])
    options = {"mean": mean, "std": std, "layout": "CHW", "dtype": "float16"}
    half = augment_batch(IMAGES, PARAMS, applier=applier, **options)
    assert half.dtype == np.float16
    wanted = ((levels / 255 - mean) / std).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(half, wanted, atol=2e-3)


@pytest.mark.parametrize("applier", EVERY)
def test_tensors_lists_and_arrays_alike(applier):
    array = augment_batch(IMAGES, PARAMS, applier=applier)
    tensor = augment_batch(torch.from_numpy(IMAGES), PARAMS, applier=applier)
    assert isinstance(tensor, torch.Tensor)
    np.testing.assert_array_equal(array, tensor.numpy())
    np.testing.assert_array_equal(array, augment_batch(list(IMAGES), PARAMS, applier=applier))
    strided = IMAGES[:, ::-1].copy()[:, ::-1]
    np.testing.assert_array_equal(array, augment_batch(strided, PARAMS, applier=applier))


def test_the_result_is_not_overwritten_by_the_next_call():
    first = augment_batch(IMAGES, PARAMS)
    kept = first.copy()
    augment_batch(IMAGES[::-1], PARAMS)
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize(
    ("images", "says"),
    [
        (IMAGES.astype(np.float32), "uint8.*astype"),
        (IMAGES[0], r"images\[None\]"),
        (IMAGES[..., :1], "RGB"),
        (IMAGES.transpose(0, 3, 1, 2), "channels first"),
        (IMAGES[:0], "empty batch"),
        ([], "empty batch"),
        ([IMAGES[0], IMAGES[1][..., 0]], "image 1"),
        (np.zeros((5, 0, 4, 3), np.uint8), "no pixels"),
        (IMAGES[:3], "5 rows for 3 images"),
        (list(IMAGES.transpose(0, 3, 1, 2)), r"channels first: use transpose\(1, 2, 0\)"),
        (
            torch.from_numpy(IMAGES).permute(0, 3, 1, 2),
            r"channels first: use permute\(0, 2, 3, 1\)",
        ),
        (list(IMAGES[..., 0]), r"np.repeat\(image\[\.\.\., None\], 3, axis=2\)"),
        ("cells/1.png", "got the path 'cells/1.png'. Open files"),
        (["cells/1.png"], "image 0 must be an array of uint8, got the path"),
        (None, "must be arrays of uint8, got NoneType"),
        ([None], "image 0 must be an array of uint8, got NoneType"),
        ([{"image": IMAGES[0]}], "image 0 must be an array of uint8, got dict"),
        (torch.rand(5, 8, 8, 3, requires_grad=True), "image 0 must be uint8"),
        ([torch.rand(8, 8, 3, requires_grad=True)] * 5, "image 0 must be uint8"),
    ],
)
def test_images_that_do_not_fit(images, says):
    with pytest.raises(ConfigError, match=says):
        augment_batch(images, PARAMS)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"applier": "fast"}, "applier must be compiled, compiled-host, fused, exact, reference"),
        ({"device": "cuda"}, "device must be cpu, gpu"),
        ({"layout": "NCHW"}, "layout must be HWC, CHW"),
        ({"dtype": "float64"}, "float32, float16"),
        ({"size": 64}, "drawn for 32"),
        ({"std": (1, 1, 0)}, "above 0"),
        ({"mean": (1, 1)}, "3 finite numbers"),
        ({"applier": "reference", "device": "gpu"}, "CPU only"),
        ({"mean": [123.675, 116.28, 103.53]}, r"Write mean=\(0.485, 0.456, 0.406\)\.$"),
        (
            {"mean": np.full(3, 127.5), "std": (127.5,) * 3},
            r"Write mean=\(0.5, 0.5, 0.5\), std=\(0.5, 0.5, 0.5\)",
        ),
        ({"std": [58.4, 57.1, 57.4]}, r"Write std=\(0.229, 0.2239, 0.2251\)"),
        ({"mean": None}, "normalize=False"),
        ({"std": None}, "normalize=False"),
        ({"mean": (-1, 0, 0)}, r"within \[0, 1\]"),
        ({"dtype": np.float64}, "float32, float16"),
    ],
)
def test_options_that_do_not_fit(options, says):
    with pytest.raises(ConfigError, match=says):
        augment_batch(IMAGES, PARAMS, **options)


@pytest.mark.parametrize("dtype", [np.float16, np.dtype("float16"), torch.float16, "float16"])
def test_types_of_other_libraries_are_taken(dtype):
    assert augment_batch(IMAGES, PARAMS, applier="reference", dtype=dtype).dtype == np.float16


@pytest.mark.parametrize("other", [PAPER, {"p_hflip": 1}, None, "paper"])
def test_what_is_no_parameters_or_no_policy_is_refused(other):
    with pytest.raises(ConfigError, match=r"AugmentParams|Use draw"):
        augment_batch(IMAGES, other)
    if other is not PAPER:
        with pytest.raises(ConfigError, match=r"policy must be an AugmentPolicy.*Use "):
            draw(other, seed=1, epoch=0, indices=[0], size=8)
        with pytest.raises(ConfigError, match=r"policy must be an AugmentPolicy.*Use "):
            AugmentCollate(other)


def test_auto_is_the_default_of_every_entrance():
    import inspect

    from fastleuk.augment import augment

    for entrance in (augment, augment_batch, Augment, AugmentCollate.__mro__[1]):
        assert inspect.signature(entrance).parameters["applier"].default == "auto"
    for lowered in (param_names, lambda applier: param_arrays(PARAMS, applier)):
        with pytest.raises(ConfigError, match=r"^applier: auto\. Parameters are lowered for one"):
            lowered("auto")
    np.testing.assert_array_equal(
        augment_batch(IMAGES, PARAMS),
        augment_batch(IMAGES, PARAMS, applier=fastest_applier()),
    )


def test_the_package_lists_what_it_has():
    import fastleuk.augment

    assert {"augment", "Augment", "AugmentCollate", "Indexed"} <= set(dir(fastleuk.augment))
    for name in fastleuk.augment.__all__:
        assert getattr(fastleuk.augment, name) is not None


@pytest.mark.parametrize("applier", ["fused", "compiled"])
def test_a_transform_refuses_nearest_at_construction(applier):
    with pytest.raises(ConfigError, match="applier='exact'"):
        AugmentCollate(PAPER.replace(interpolation="nearest"), size=32, applier=applier)


def test_fused_refuses_nearest():
    params = draw(PAPER.replace(interpolation="nearest"), seed=1, epoch=0, indices=[0], size=32)
    with pytest.raises(ConfigError, match="applier='exact'"):
        augment_batch(IMAGES[:1], params, applier="fused")


class Cells(Dataset):
    def __init__(self, transform=None):
        self.transform = transform

    def __len__(self):
        return 10

    def __getitem__(self, index):
        image = Image.fromarray(IMAGES[index % 5])
        return (self.transform(image) if self.transform else image), index


@pytest.mark.parametrize("applier", EVERY)
def test_as_a_transform(applier):
    torch.manual_seed(3)
    transform = Augment(size=32, applier=applier)
    image, label = Cells(transform)[4]
    assert image.shape == (3, 32, 32)
    assert image.dtype == torch.float32
    again = Cells(transform)[4][0]
    assert not torch.equal(image, again)
    torch.manual_seed(3)
    assert torch.equal(Cells(Augment(size=32, applier=applier))[4][0], image)
    tensor = torch.from_numpy(IMAGES[4]).permute(2, 0, 1)
    torch.manual_seed(3)
    assert torch.equal(transform(tensor), image)
    assert label == 4


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_as_a_collate_function(workers):
    def epoch():
        torch.manual_seed(5)
        loader = DataLoader(
            Cells(),
            batch_size=4,
            num_workers=workers,
            collate_fn=AugmentCollate(size=32),
            multiprocessing_context="spawn" if workers else None,
        )
        return list(loader)

    batches, again = epoch(), epoch()
    assert [tuple(images.shape) for images, _ in batches] == [(4, 3, 32, 32)] * 2 + [(2, 3, 32, 32)]
    assert torch.cat([labels for _, labels in batches]).tolist() == list(range(10))
    for (images, _), (others, _) in zip(batches, again, strict=True):
        assert torch.equal(images, others)


def test_transform_checks_its_arguments():
    with pytest.raises(ConfigError, match="applier"):
        Augment(applier="torch")
    with pytest.raises(ConfigError, match="AugmentPolicy"):
        Augment("paper")
    with pytest.raises(ConfigError, match="std"):
        AugmentCollate(std=(0, 0, 0))


def test_importing_the_engine_imports_numpy_only():
    script = (
        "import sys, fastleuk.augment as a; a.draw(a.PAPER, seed=1, epoch=0, indices=[0], size=8);"
        "found = [m for m in ('torch', 'torchvision', 'nvidia.dali') if m in sys.modules];"
        "assert not found, found"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_without_numba_fused_takes_its_place():
    script = """
import sys; sys.modules['numba'] = None
import numpy as np, torch, fastleuk.augment as a
from fastleuk.errors import MissingDependencyError
from fastleuk.loading import resolve_applier
cpu = torch.device('cpu')
assert resolve_applier('auto', a.PAPER, cpu) == 'fused'
params = a.draw(a.PAPER, seed=1, epoch=0, indices=[0], size=8)
for use in (
    lambda: resolve_applier('compiled', a.PAPER, cpu),
    lambda: a.augment_batch(np.zeros((1, 8, 8, 3), np.uint8), params, applier='compiled'),
):
    try:
        use()
    except MissingDependencyError as error:
        assert 'fastleuk[cpu]' in str(error), error
    else:
        raise SystemExit('no error')
"""
    subprocess.run([sys.executable, "-c", script], check=True)


@needs_numba
def test_auto_is_the_fastest_that_can_do_it(monkeypatch):
    nearest = PAPER.replace(interpolation="nearest")
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    passed = "fastleuk.augment.gpu.verdicts.remembered"
    monkeypatch.setattr(passed, lambda applier, *_: Verdict(applier, True, "ok"))
    assert resolve_applier("auto", PAPER, cpu) == "compiled"
    assert resolve_applier("auto", nearest, cpu) == "exact"
    assert resolve_applier("auto", nearest, gpu) == "exact"
    assert resolve_applier("auto", PAPER, gpu) == "compiled"
    assert resolve_applier("compiled", PAPER, gpu) == "compiled"
    with pytest.raises(ConfigError, match="use --applier exact"):
        resolve_applier("compiled", nearest, gpu)


def test_without_dali_the_error_says_why():
    script = """
import sys; sys.modules['nvidia.dali'] = None
import numpy as np, fastleuk.augment as a
from fastleuk.errors import MissingDependencyError
images, params = np.zeros((1, 8, 8, 3), np.uint8), a.identity(1, 8)
a.augment_batch(images, params, applier='reference')
by_dali = lambda: a.augment_batch(images, params, applier='fused')
for use in (lambda: a.apply_graph, lambda: a.augment, by_dali):
    try:
        use()
    except MissingDependencyError as error:
        assert 'x86-64' in str(error), error
    else:
        raise SystemExit('no error')
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_auto_is_the_fastest_applier_that_is_installed(monkeypatch, capsys):
    from fastleuk.augment import batch
    from fastleuk.augment.gpu import arrays, verdicts

    there = {"nvidia.dali", "numba"}
    monkeypatch.setattr(
        batch.importlib.util, "find_spec", lambda name: name if name in there else None
    )
    assert batch.fastest_applier() == "compiled"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    arrays._sound_on.cache_clear()
    monkeypatch.setattr(
        verdicts, "remembered", lambda name, *_: Verdict(name, name != "compiled", "errs")
    )
    assert batch.fastest_applier(device="gpu") == "fused"
    assert batch.fastest_applier("nearest", device="gpu") == "exact"
    assert capsys.readouterr().err.count("it errs") == 1
    arrays._sound_on.cache_clear()
    assert batch.fastest_applier("nearest") == "exact"
    assert AugmentCollate(PAPER, size=32).options["applier"] == "compiled"
    assert Augment(PAPER, size=32).options["applier"] == "compiled"
    there.remove("numba")
    assert AugmentCollate(PAPER, size=32).options["applier"] == "fused"
    there.clear()
    assert AugmentCollate(PAPER, size=32).options["applier"] == "reference"
