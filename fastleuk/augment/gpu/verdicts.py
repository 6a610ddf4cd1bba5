"""The verdicts of self-tests: an applier that passes is remembered for the versions that passed.

A failure is never remembered. Its cause may be a compiler that is missing, a folder, a busy GPU:
once that is fixed, the next process finds out.

A test runs in a process of its own. A kernel that reads where it may not ends a whole process's
use of the GPU, and a driver may hang: whoever asks goes on with the next applier all the same.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from fastleuk.augment.gpu.selftest import Verdict, on_gpu, self_test
from fastleuk.data.user_cache.folder import cache_root
from fastleuk.errors import FastleukError, MissingDependencyError

ORDER = ("compiled", "fused", "exact")
"""Of the appliers on a GPU, the fastest first: who fails is followed by the next."""
NEEDS = {
    "compiled": ("triton", "Triton is not installed; it comes with torch for Linux"),
    "fused": ("nvidia.dali", "NVIDIA DALI is not installed"),
    "exact": ("nvidia.dali", "NVIDIA DALI is not installed"),
}
SECONDS = 300
"""After which a self-test counts as one that hangs; the CPU's kernel may be compiled in it."""
REPORT = "Please report this with the output of `fastleuk gpu-check`."

Test = Callable[[str], Verdict]
"""From an applier to its verdict."""


def isolated(applier: str, device: Any, *, seconds: float = SECONDS) -> Verdict:
    """Run the self-test of an applier on ``device`` in a process of its own.

    In this one where the device can't be had by a second process.
    """
    package, missing = NEEDS[applier]
    if not _is_installed(package):
        return Verdict(applier, False, f"can't be had: {missing}", missing=True)
    root = str(Path(__file__).parents[3])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "fastleuk.augment.gpu.selftest", applier, str(device)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        return Verdict(applier, False, f"does not come to an end within {seconds:g} seconds")
    except OSError:  # no second process at all
        return self_test(applier, on_gpu(device))
    ready, _, answer = done.stdout.partition("\n")
    if ready != "ready":
        return self_test(applier, on_gpu(device))
    try:
        return Verdict(**json.loads(answer))
    except (ValueError, TypeError):
        words = (done.stderr.strip().splitlines() or ["without a word"])[-1]
        return Verdict(applier, False, f"ends its process ({done.returncode}): {words}")


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except (ModuleNotFoundError, ValueError):  # the latter: hidden by None in sys.modules
        return False


def versions(device: Any) -> dict[str, str]:
    """What a verdict holds for: another of these asks for a new test."""
    import torch

    found = {"fastleuk": _source_digest(), "gpu": str(device)}
    if getattr(device, "type", "") == "cuda":
        properties = torch.cuda.get_device_properties(device)
        found["gpu"] = f"{properties.name} sm_{properties.major}{properties.minor}"
        found["cuda"] = str(torch.version.cuda)
        found["driver"] = _driver()
    for name in ("torch", "triton", "nvidia-dali-cuda120", "nvidia-dali-cuda130", "numba"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _driver() -> str:
    try:
        text = Path("/proc/driver/nvidia/version").read_text()
    except OSError:
        return ""
    return text.splitlines()[0] if text else ""


def _source_digest() -> str:
    """The appliers' sources: an update of them is tested anew."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parents[1].rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def remembered(applier: str, device: Any, test: Test) -> Verdict:
    """Return the verdict on ``applier``: a pass with these versions, or by a test now."""
    try:
        verdict = Verdict(**json.loads(_file(applier, device)[0].read_text())["verdict"])
        if verdict.passed and verdict.applier == applier:
            return verdict
    except (FastleukError, OSError, ValueError, KeyError, TypeError):
        pass  # never asked, or a file of something else
    verdict = test(applier)
    record(verdict, device)
    return verdict


def record(verdict: Verdict, device: Any) -> None:
    """Save a pass for the versions at hand; forget an earlier one where the verdict is no pass.

    A folder that can't be written only means that the next process tests again.
    """
    from fastleuk.files import write_json

    with contextlib.suppress(FastleukError, OSError):
        file, now = _file(verdict.applier, device)
        if verdict.passed:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_json(file, {"verdict": asdict(verdict), "versions": now})
        else:
            _sound.discard((verdict.applier, str(device)))
            file.unlink(missing_ok=True)


def _file(applier: str, device: Any) -> tuple[Path, dict[str, str]]:
    """The file of a pass, and the versions that its name stands for."""
    now = versions(device)
    key = hashlib.sha256(json.dumps([applier, now], sort_keys=True).encode()).hexdigest()[:24]
    return cache_root() / "self-tests" / f"{key}.json", now


def first_sound(
    device: Any,
    *,
    order: Sequence[str] = ORDER,
    report: Callable[[str], None] = print,
    test: Test | None = None,
) -> str:
    """Return the first applier of ``order`` whose self-test passes on ``device``.

    Args:
        device: A GPU.
        order: Appliers, the fastest first.
        report: Is told, in a line each, of those that were passed over.
        test: From an applier to its verdict; None for the self-test on ``device``.

    Raises:
        FastleukError: none passes.
    """
    failed = []
    for applier in order:
        verdict = remembered(applier, device, test or (lambda name: isolated(name, device)))
        if verdict.passed:
            return applier
        failed.append(f"{applier} {verdict.found}")
        remedy = "The next one is taken." if verdict.missing else REPORT
        report(f"The applier {applier} is not used on {device}: it {verdict.found}. {remedy}")
    raise FastleukError(
        f"No applier works on {device}: {'; '.join(failed)}. Train with --device cpu, or see "
        "`fastleuk gpu-check`."
    )


_sound: set[tuple[str, str]] = set()


def require(applier: str, device: Any, *, test: Test | None = None) -> None:
    """Refuse an applier that was asked for by name and whose self-test fails on ``device``.

    Args:
        applier: Its name; one that has no self-test on a GPU passes.
        device: On anything else than a GPU it passes.
        test: As of :func:`first_sound`.

    Raises:
        FastleukError: with what was found, and how to report it.
        MissingDependencyError: it isn't installed.
    """
    if device.type != "cuda" or applier not in ORDER or (applier, str(device)) in _sound:
        return
    verdict = remembered(applier, device, test or (lambda name: isolated(name, device)))
    if verdict.missing:
        raise MissingDependencyError(f"The applier {applier} {verdict.found}.")
    if not verdict.passed:
        raise FastleukError(
            f"The applier {applier} was asked for, and on {device} it {verdict.found}. Use another "
            f"one, or auto. {REPORT}"
        )
    _sound.add((applier, str(device)))
