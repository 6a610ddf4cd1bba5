"""Fixtures for every test."""

import importlib.util
import os
from pathlib import Path

import pytest

from tests.makers.cells import PROJECT, SUBJECT_REGEX, write_cells
from tests.makers.command_line import CommandLine, command_line
from tests.makers.light import lighten
from tests.makers.zygote import Zygote

# Processes share the cores, and networks this small are slower on several anyway.
os.environ.setdefault("OMP_NUM_THREADS", "1")

if importlib.util.find_spec("hypothesis"):
    from hypothesis import settings

    # The same examples every day; FASTLEUK_EXAMPLES looks for new ones.
    seeded = "FASTLEUK_EXAMPLES" not in os.environ
    settings.register_profile("fastleuk", derandomize=seeded, deadline=None, print_blob=True)
    settings.load_profile("fastleuk")


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The development folder beside the project; tests that need it skip without it."""
    path = PROJECT.parent / "shared"
    if not path.is_dir():
        pytest.skip(f"no {path}: real cells and names are not here")
    return path


@pytest.fixture
def fastleuk(monkeypatch, capsys) -> CommandLine:
    """The command line in this process: ``fastleuk(*words)`` gives exit code, stdout, stderr."""
    return command_line(monkeypatch, capsys)


@pytest.fixture(scope="session")
def zygote():
    """Starts processes that need not import torch first."""
    started = Zygote()
    yield started
    started.close()


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    """Keep the user's cache out of the tests, and the tests out of the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    before = os.environ.get("FASTLEUK_CACHE_DIR")
    os.environ["FASTLEUK_CACHE_DIR"] = str(folder)
    yield folder
    if before is None:
        del os.environ["FASTLEUK_CACHE_DIR"]
    else:
        os.environ["FASTLEUK_CACHE_DIR"] = before


@pytest.fixture(scope="session", autouse=True)
def _light():
    lighten()


REQUIRED = os.environ.get("FASTLEUK_REQUIRE_GPU") == "1"
"""A machine that has a GPU says so: what is marked ``gpu`` then fails where it would be skipped."""


def pytest_collection_modifyitems(items):
    """Skip what needs a GPU where there is none, unless a GPU is required."""
    gpu_items = [item for item in items if item.get_closest_marker("gpu")]
    if not gpu_items or REQUIRED:
        return
    import torch

    if not torch.cuda.is_available():
        for item in gpu_items:
            item.add_marker(pytest.mark.skip(reason="no NVIDIA GPU"))


def _fail_if_skipped(report):
    """Turn a skip into a failure, unless its reason names what the machine is known to lack.

    ``FASTLEUK_WITHOUT`` (such as ``dali,numba``) names that: what needs it is skipped then, and
    everything else is not.
    """
    reason = str(report.longrepr[-1] if report.longrepr else "")
    without = [name for name in os.environ.get("FASTLEUK_WITHOUT", "").split(",") if name]
    if report.skipped and not any(name.lower() in reason.lower() for name in without):
        report.outcome = "failed"
        report.longrepr = f"FASTLEUK_REQUIRE_GPU=1, but this was skipped: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):  # noqa: ARG001
    """Where a GPU is required, no test marked ``gpu`` passes by being skipped."""
    report = yield
    if REQUIRED and item.get_closest_marker("gpu"):
        _fail_if_skipped(report)
    return report


def _is_installed(name):
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


TESTS = Path(__file__).parent


def _left_out():
    """Files that can't even be imported here: ``{file: what is missing}``."""
    needs = {
        "hypothesis": ("hypothesis",),
        "jsonschema": ("jsonschema",),
        "nvidia.dali": (
            "nvidia",
            "fastleuk.augment.appliers.exact",
            "fastleuk.augment.appliers.fused",
            "fastleuk.augment.appliers.compiled.in_dali",
            "fastleuk.augment.dali",
            "fastleuk.loading.dali.loader",
        ),
    }
    found = {}
    for file in sorted(TESTS.rglob("test_*.py")):
        text = file.read_text(encoding="utf-8")
        for name, modules in needs.items():
            imports = [f"\n{how} {module}" for module in modules for how in ("from", "import")]
            if not _is_installed(name) and any(line in text for line in imports):
                found[file] = name
    return found


LEFT_OUT = _left_out()
collect_ignore = [str(file) for file in LEFT_OUT]


def pytest_report_header():
    """Say which files are left out, and why."""
    return [
        f"left out, {name} is missing: {file.relative_to(TESTS)}" for file, name in LEFT_OUT.items()
    ]


def pytest_sessionstart():
    """Where a GPU is required, no file with tests for it may be left out unannounced."""
    without = os.environ.get("FASTLEUK_WITHOUT", "").split(",")
    for file, name in LEFT_OUT.items():
        if REQUIRED and "mark.gpu" in file.read_text() and name.split(".")[-1] not in without:
            pytest.exit(f"FASTLEUK_REQUIRE_GPU=1, but {file.name} needs {name}", returncode=1)


@pytest.fixture(scope="session")
def cells(tmp_path_factory) -> Path:
    """64 small images of two classes and 16 subjects."""
    return write_cells(tmp_path_factory.mktemp("cells") / "set")


@pytest.fixture(scope="session")
def dataset(cells):
    """The same, verified, with subjects."""
    from fastleuk.data.dataset import load_dataset

    return load_dataset(cells, subject_regex=SUBJECT_REGEX)
