"""The Triton kernels without a GPU: interpreted against the CPU's kernel and the ideal, and
compiled ahead of time."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fastleuk.augment.appliers import ideal, row
from fastleuk.augment.gpu.kernels import BLOCK
from fastleuk.augment.normalization import IMAGENET_MEAN, IMAGENET_STD
from tests.augment.gpu import triton_cases
from tests.makers.augment_images import needs_numba, psnr
from tests.makers.cells import PROJECT
from tests.makers.host_kernels import cpu_levels, resized
from tests.makers.once import once
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

    def run(out):
        python(HERE / "triton_cases.py", out, TRITON_INTERPRET="1")

    return dict(np.load(once(tmp_path_factory, "triton-cases.npz", run)))


def compare(name, found, expected):
    difference = np.abs(found - expected)
    share = float((difference > TRITON.levels).mean())
    message = f"{name}: {share:.3%} of values differ by more than {TRITON.levels} levels, the "
    message += f"worst by {difference.max():.3f}; allowed {TRITON.excused:.2%} ({TRITON.reason})"
    assert share <= TRITON.excused, message
    assert difference.mean() < TRITON.levels / 10, message


def compare_resized(name, found, expected):
    difference = np.abs(found - expected)
    assert (difference > TRITON.levels).mean() < 0.04, name
    assert difference.mean() < 0.01, f"{name}: {difference.mean()}"
    assert difference.max() < 2, f"{name}: {difference.max()}"


def named(case):
    """The images of a case by name, for a failure to say which."""
    names = {
        "chain": triton_cases.SHAPES,
        "alone": triton_cases.ALONE,
        "orders": triton_cases.ORDERS,
        "plain": triton_cases.PLAIN,
        "few": triton_cases.FEW,
    }
    return list(names[case])


EACH = [(case, i) for case in CASES for i in range(len(CASES[case][0]))]


@pytest.fixture(scope="module")
def expected():
    """Every case's result, from the CPU's kernel."""
    return {name: cpu_levels(*case) for name, case in CASES.items()}


@needs_numba
@pytest.mark.parametrize(("case", "i"), EACH, ids=[f"{c} {named(c)[i]}" for c, i in EACH])
def test_the_gpu_kernels_compute_what_the_cpu_kernel_does(interpreted, expected, case, i):
    """To a fraction of a level; after a resize a few pixels may be rounded to the next level."""
    found, wanted = interpreted[case][i], expected[case][i]
    if CASES[case][0][i].shape[:2] == (SIZE, SIZE):
        compare(f"{case} {named(case)[i]}", found, wanted)
    else:
        compare_resized(f"{case} {named(case)[i]}", found, wanted)


@needs_numba
def test_layouts_and_dtypes(interpreted, expected):
    levels = expected["chain"][:1].transpose(0, 3, 1, 2)
    deviation, mean = (np.array(v)[:, None, None] * 255 for v in (IMAGENET_STD, IMAGENET_MEAN))
    for (layout, dtype), bits in zip(
        triton_cases.FORMS, (24, 11, 7), strict=True
    ):  # the interpreter cuts bfloat16 off
        found = interpreted[f"{layout} {dtype}"]
        found = found.transpose(0, 3, 1, 2) if layout == "HWC" else found
        spacing = 2.0**-bits * np.abs(levels - mean).clip(0.5 * deviation)
        canvas = 0.1 if dtype != "float32" else 0  # of half precision
        apart = np.abs(found * deviation + mean - levels) > spacing + canvas + TRITON.levels
        assert apart.mean() <= 0.002, f"{layout} {dtype}: {apart.mean():.2%} too far off"


@needs_numba
def test_bmp_rows_are_read_where_they_lie(interpreted):
    """Bottom-up and top-down, blue first, rows padded: the same picture."""
    pixels = triton_cases.image(*triton_cases.BMP_SHAPE)
    expected = cpu_levels([pixels] * 3, triton_cases.bmp_params())
    compare_resized("bmp", interpreted["bmp"], expected)


@pytest.mark.parametrize("ratio", triton_cases.RATIOS)
def test_a_flip_changes_nothing_but_the_order_of_pixels(interpreted, ratio):
    """An un-augmented image and a flipped one are sampled alike, whatever their size."""
    first = 4 * triton_cases.RATIOS.index(ratio)
    plain, across, down, both = interpreted["flips"][first : first + 4]
    np.testing.assert_array_equal(across[:, ::-1], plain)
    np.testing.assert_array_equal(down[::-1], plain)
    np.testing.assert_array_equal(both[::-1, ::-1], plain)


@needs_numba
@pytest.mark.parametrize("ratio", triton_cases.RATIOS)
def test_files_and_the_cache_give_the_same_pixels(interpreted, ratio):
    """But for values at a half, which the cache may have rounded to the other level."""
    first = 4 * triton_cases.RATIOS.index(ratio)
    cached = resized(triton_cases.flips()[0][first], SIZE)
    difference = np.abs(interpreted["flips"][first] - cached)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.005


def test_the_gpu_kernels_are_near_the_ideal(interpreted):
    """As near as the CPU's kernel is asked to be, with no kernel to compare with."""
    found = {}
    for name in ("chain", "orders", "alone"):
        images, params = CASES[name]
        for i, image in enumerate(images):
            wanted = ideal.apply(resized(image, SIZE), params, i)[None]
            found[name, i] = psnr(interpreted[name][i][None], wanted)[0]
    assert np.median(list(found.values())) > 41, found
    assert min(found.values()) > 32, found  # every step at once, on 48 pixels


ROOM = PROJECT / "fastleuk" / "augment" / "appliers" / "compiled"
ROW_BY_ROW = {"framed_grid", "_index", "_reflect_margin", "_interleave"}
"""What only the CPU needs, for it works on whole rows of one colour."""


def test_the_two_kernels_can_be_read_side_by_side():
    """The same functions in the same order; each docstring begins alike."""
    found = {}
    for name in ("cpu", "gpu"):
        tree = ast.parse((ROOM / f"{name}.py").read_text())
        functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
        found[name] = {f.name: (ast.get_docstring(f) or "").split(".")[0] for f in functions}
    cpu = [name for name in found["cpu"] if name not in ROW_BY_ROW]
    assert set(found["cpu"]) > ROW_BY_ROW
    assert cpu == list(found["gpu"])
    for name in ("_affine", "_perspective", "_coverage", "_shift_hue"):
        assert found["cpu"][name].lower() == found["gpu"][name].lower()


CAPABILITIES = (75, 80, 90, 100)
REGISTERS = {"mean_grey": 168, "warp_and_jitter": 128, "filter_and_write": 64, "resize": 64}
"""At most: three blocks of four warps on a multiprocessor of the first, which has a program an
image only; four and eight of the others."""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """What each kernel takes on each generation of GPUs."""

    def run(out):
        out.write_text(python(HERE / "triton_compile.py", *CAPABILITIES))

    return json.loads(once(tmp_path_factory, "triton-usage.json", run).read_text())


@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize("kernel", REGISTERS)
def test_the_kernels_fit_the_registers(compiled, kernel, capability):
    """No stack and no local memory: nothing spills."""
    used = compiled[f"{kernel} {capability}"]
    assert used["STACK"] == used["LOCAL"] == 0, f"{kernel} spills: {used}"
    assert used["REG"] <= REGISTERS[kernel], f"{kernel} takes {used['REG']} registers a thread"


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_the_kernels_store_what_the_benchmark_counts(compiled, capability):
    """A pixel of three channels once: half precision, or uint8; and no library's functions."""
    threads = 4 * 32
    for kernel, itemsize in (("warp_and_jitter", 2), ("filter_and_write", 2), ("resize", 1)):
        found = compiled[f"{kernel} {capability}"]
        assert found["STORED"] * threads == BLOCK * 3 * itemsize
    assert compiled[f"mean_grey {capability}"]["STORED"] == 4
    assert not any(used["CALLS"] for used in compiled.values())


def test_no_range_has_a_bound_that_is_known_at_run_time_only():
    """Triton 3.6's interpreter can't use an array of NumPy 2.4 as a number; ``while`` does."""
    for file in ROOM.glob("gpu*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.For):
                assert isinstance(node.iter, ast.Call)
                names = {n.id for n in ast.walk(node.iter) if isinstance(n, ast.Name)}
                constants = {name for name in names if name.isupper()}
                assert names - constants <= {"range", "tl"}, f"{file.name}:{node.lineno}"


def test_the_rows_of_both_kernels_end_alike():
    from fastleuk.augment.appliers.compiled import gpu

    assert gpu.EDGE.value == row.ROW
