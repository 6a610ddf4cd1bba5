"""On a machine with a GPU, nothing passes by being skipped; and what needs DALI needs only that."""

import os
import subprocess
import sys

import pytest

from tests.makers.cells import PROJECT


def run_without(*missing, arguments=(), **environment):
    """pytest in a process of its own in which some packages can't be found."""
    hide = f"import sys; sys.modules.update(dict.fromkeys({list(missing)!r}))"
    script = f"{hide}; import pytest; sys.exit(pytest.main({list(arguments)!r}))"
    return subprocess.run(
        [sys.executable, "-c", script],
        cwd=PROJECT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


GPU = ("-m", "gpu", "-p", "no:cacheprovider")


@pytest.mark.slow
def test_every_file_with_gpu_tests_is_collected_on_a_bare_machine():
    """Without DALI, numba and what only tests need: the files that need them are named."""
    names = ("nvidia.dali", "numba", "jsonschema")
    found = run_without(*names, arguments=[*GPU, "--collect-only", "-q", "-v", "tests"])
    assert found.returncode == 0, found.stdout
    assert "error" not in found.stdout.lower()
    assert "left out, nvidia.dali is missing: augment/gpu/test_images.py" in found.stdout
    assert "training_on_the_gpu_is_mixed_precision_and_repeats[torchvision]" in found.stdout


@pytest.mark.slow
def test_a_skip_is_a_failure_where_a_gpu_is_required():
    required = {"FASTLEUK_REQUIRE_GPU": "1"}
    arguments = [*GPU, "-k", "from_the_gpu", "tests/loading/test_gpu.py"]
    found = run_without("nvidia.dali", arguments=arguments, **required)
    assert found.returncode == 1, found.stdout
    assert "needs nvidia.dali" in found.stdout + found.stderr
    excused = run_without("nvidia.dali", arguments=arguments, FASTLEUK_WITHOUT="dali", **required)
    assert excused.returncode == 0, excused.stdout
    assert "NVIDIA DALI is not installed" not in excused.stderr
