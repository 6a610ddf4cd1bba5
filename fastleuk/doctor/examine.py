"""All checks in their order, each told as soon as it is known."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fastleuk.data.user_cache.folder import cache_root
from fastleuk.doctor import gpu, machine, network, packages, working
from fastleuk.doctor.finding import FAILED, Finding
from fastleuk.doctor.probe import ask
from fastleuk.errors import ConfigError


def examine(*, network_too: bool = False, quick: bool = False) -> Iterator[Finding]:
    """Yield what is found.

    Args:
        network_too: Whether to ask for the model hub.
        quick: Leave out what computes: GPUs' arithmetic, decoding and the appliers' self-tests.
    """
    yield packages.python_version()
    imported = packages.imports(lambda modules: ask("imports", modules))
    yield from imported
    yield from packages.together()
    broken = {finding.name for finding in imported if finding.state == FAILED}
    wheels = packages.dali_wheels()
    cuda = torch_cuda(imported)
    version, present = gpu.driver_version(), gpu.has_gpu()
    there = present or bool(version)
    yield packages.dali_and_torch(wheels, cuda, gpu=there)
    yield machine.cores()
    yield machine.memory()
    yield machine.shared_memory()
    yield _cache_folder()
    yield machine.run_folder(Path.cwd())
    yield machine.file_limit()
    if version:
        toolkits = {"torch": int(cuda.partition(".")[0])} if cuda else {}
        toolkits |= {name: int(name[-3:-1]) for name in wheels}
        yield gpu.driver(version, toolkits)
    if not quick and "torch" not in broken:
        yield from _computing(there, has_dali="DALI" not in broken)
    if network_too:
        yield network.hub()


def _cache_folder() -> Finding:
    try:
        return machine.cache_folder(cache_root())
    except ConfigError as error:  # a user without a home folder
        return Finding(
            "cache folder", FAILED, str(error).partition(". ")[0], "Set HOME or FASTLEUK_CACHE_DIR."
        )


def torch_cuda(imported: list[Finding]) -> str | None:
    """Return the version of CUDA that torch is built for, None for the CPU.

    >>> torch_cuda([Finding("torch", "ok", "2.9.1, built for CUDA 13.0")])
    '13.0'
    """
    text = next((each.found for each in imported if each.name == "torch"), "")
    _, _, version = text.partition("built for CUDA ")
    return version or None


def _computing(there: bool, *, has_dali: bool) -> Iterator[Finding]:
    answer = ask("gpus")
    yield from gpu.gpus(answer, there=there)
    usable = bool(answer.rows) and bool(answer.rows[0]["available"])
    for device in ["cpu"] + ["cuda:0"] * usable:
        if has_dali and packages.dali_wheels():
            yield working.decoding(ask("decoding", [device]), device)
        yield from working.appliers(ask("appliers", [device, *working.APPLIERS]), device)
