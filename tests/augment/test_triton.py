"""The Triton kernels without a GPU: interpreted against the CPU's kernel and the ideal, and
compiled ahead of time."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fastleuk.augment import augment_batch
from fastleuk.augment.appliers import ideal
from fastleuk.augment.batch import IMAGENET_STD
from tests.augment import triton_cases
from tests.makers.augment_images import needs_numba, psnr
from tests.makers.cells import PROJECT
from tests.makers.tolerances import TRITON

pytest.importorskip("triton", reason="Triton comes with torch for Linux")

HERE = Path(__file__).parent
SIZE = triton_cases.SIZE
CASES = triton_cases.cases()


def python(*arguments, **environment):
    """Run a script beside this file with the kernels in reach."""
    paths = [str(PROJECT), os.environ.get("PYTHONPATH", "")]
    found = subprocess.run(
        [sys.executable, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert found.returncode == 0, found.stderr
    return found.stdout


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory):
    """Every case's result, from the interpreter."""
    out = tmp_path_factory.mktemp("triton") / "out.npz"
    python(HERE / "triton_cases.py", out, TRITON_INTERPRET="1")
    return dict(np.load(out))


def compare(name, found, expected):
    difference = np.abs(found - expected)
    share = float((difference > TRITON.levels).mean())
    message = f"{name}: {share:.3%} of values differ by more than {TRITON.levels} levels, the "
    message += f"worst by {difference.max():.3f}; allowed {TRITON.excused:.2%} ({TRITON.reason})"
    assert share <= TRITON.excused, message
    assert difference.mean() < 0.02, message


@needs_numba
@pytest.mark.parametrize("name", CASES)
def test_the_gpu_kernels_compute_what_the_cpu_kernel_does(interpreted, name):
    images, params = CASES[name]
    expected = augment_batch(images, params, applier="compiled", normalize=False)
    compare(name, interpreted[name], expected)


@needs_numba
def test_layouts_and_dtypes(interpreted):
    images, params = CASES["chain"]
    expected = augment_batch(images, params, applier="compiled", layout="CHW")
    levels = 255 * np.array(IMAGENET_STD)[:, None, None]
    compare("CHW", interpreted["CHW float32"] * levels, expected * levels)
    for name, bits in (("HWC float16", 11), ("CHW bfloat16", 8)):
        found = interpreted[name]
        found = found.transpose(0, 3, 1, 2) if name.startswith("HWC") else found
        spacing = 2.0**-bits * np.abs(expected).clip(0.5) * levels + 0.1
        share = (np.abs(found - expected) * levels > spacing + TRITON.levels).mean()
        assert share <= 0.01, f"{name}: {share:.2%} too far off"


def test_bmp_rows_are_read_where_they_lie(interpreted):
    """Bottom-up and top-down, blue first, rows padded: the same picture."""
    _, params = CASES["chain"]
    pixels = triton_cases.image(*triton_cases.BMP_SHAPE)
    expected = augment_batch([pixels] * 2, params.take([3, 4]), applier="compiled", normalize=False)
    compare("bmp", interpreted["bmp"], expected)


@pytest.mark.parametrize("name", ["nothing", "chain", "orders"])
def test_the_gpu_kernels_are_near_the_ideal(interpreted, name):
    """As near as the CPU's kernel is asked to be, with no kernel to compare with."""
    images, params = CASES[name]
    kept = [i for i, image in enumerate(images) if min(image.shape[:2]) >= SIZE]
    wanted = np.stack([ideal.apply(images[i], params, i) for i in kept])
    assert np.median(psnr(interpreted[name][kept], wanted)) > 38


@needs_numba
@pytest.mark.parametrize("resident", [False, True])
def test_the_loader_gives_what_the_cpu_loader_does(interpreted, resident):
    """From the mapped cache and from GPU memory, originals among augmented images."""
    from fastleuk.augment import draw

    pixels, labels = triton_cases.loaded_pixels()
    size = pixels.shape[1]
    expected, rows = [], []
    for plan in triton_cases.loaded_stream().batches(1, 1):
        params = draw(
            triton_cases.PAPER,
            seed=3,
            epoch=plan.draw_epoch,
            indices=plan.draws,
            size=size,
            augmented=plan.augmented,
        )
        rows.append(plan.indices)
        expected.append(
            augment_batch(
                pixels[plan.indices],
                params,
                applier="compiled",
                layout="CHW",
                mean=(0.5, 0.4, 0.3),
                std=(0.2, 0.3, 0.4),
            )
        )
    name, order = f"loaded {resident}", np.concatenate(rows)
    assert interpreted[f"{name} indices"].tolist() == order.tolist()
    assert interpreted[f"{name} labels"].tolist() == labels[order].tolist()
    levels = 255 * np.array([0.2, 0.3, 0.4])[:, None, None]
    compare(name, interpreted[name] * levels, np.concatenate(expected) * levels)


@needs_numba
def test_the_self_test_passes_kernels_that_are_right(interpreted):
    assert str(interpreted["self-test"][0]).startswith("True")


CAPABILITIES = (75, 80, 90, 100)


@pytest.fixture(scope="module")
def compiled():
    """What each kernel takes on each generation of GPUs."""
    return json.loads(python(HERE / "triton_compile.py", *CAPABILITIES))


@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize("kernel", ["mean_grey", "warp_and_jitter", "filter_and_write"])
def test_the_kernels_fit_the_registers(compiled, kernel, capability):
    """No stack and no local memory: nothing spills; at most half of the registers."""
    used = compiled[f"{kernel} {capability}"]
    assert used["STACK"] == used["LOCAL"] == 0, f"{kernel} spills: {used}"
    assert used["REG"] <= 128, f"{kernel} takes {used['REG']} registers a thread"
