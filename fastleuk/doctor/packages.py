"""Which versions are installed, and whether they go together."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata

from packaging.requirements import InvalidRequirement, Requirement

from fastleuk.doctor.finding import FAILED, OK, WARNING, Finding
from fastleuk.doctor.probe import Answer

LEAST_PYTHON = (3, 10)

IMPORTED = {
    "torch": "torch",
    "torchvision": "torchvision",
    "timm": "timm",
    "nvidia.dali": "DALI",
    "triton": "Triton",
    "numba": "numba",
}
"""Modules that are imported to see whether they work, and their names for a person."""

_WITHOUT = {
    "torch": (FAILED, "Install it: pip install torch torchvision."),
    "torchvision": (FAILED, "Install the one that belongs to torch: pip install torchvision."),
    "timm": (FAILED, "Install it: pip install timm."),
    "nvidia.dali": (
        WARNING,
        "The torchvision loader gives the same batches more slowly. On Linux: pip install "
        "nvidia-dali-cuda120.",
    ),
    "triton": (
        WARNING,
        "Only --compile and --applier compiled on a GPU need it: pip install triton.",
    ),
    "numba": (
        WARNING,
        "Augmentation on a CPU is slower without it: pip install 'fastleuk[cpu]'.",
    ),
}

ROOTS = ("fastleuk", "torch", "torchvision", "timm", "numba")
"""Whose requirements are checked, and those of all that they require; DALI's wheels as well."""

Distribution = Callable[[str], metadata.Distribution]


def python_version(version: tuple[int, ...] = sys.version_info[:3]) -> Finding:
    """Look at Python's own version."""
    found = ".".join(map(str, version))
    if version[:2] < LEAST_PYTHON:
        least = ".".join(map(str, LEAST_PYTHON))
        return Finding("Python", FAILED, found, f"Python {least} or newer is needed.")
    return Finding("Python", OK, found)


def imports(answer: Callable[[Sequence[str]], Answer]) -> list[Finding]:
    """Import every package that does the work; one that crashes doesn't hide the others.

    Args:
        answer: Imports modules in another process, see :mod:`fastleuk.doctor.probe`.
    """
    rows: dict[str, dict[str, str]] = {}
    waiting = list(IMPORTED)
    while waiting:
        said = answer(waiting)
        rows |= {row["module"]: row for row in said.rows}
        waiting = waiting[len(said.rows) :]
        if waiting:
            crashed = waiting.pop(0)
            rows[crashed] = {"error": said.failure or "gave no answer"}
    return [_imported(module, rows[module]) for module in IMPORTED]


def _imported(module: str, row: Mapping[str, str]) -> Finding:
    name = IMPORTED[module]
    error = row.get("error", "")
    if not error:
        cuda = row.get("cuda", "")
        built = f", built for CUDA {cuda}" if cuda else ", built for the CPU"
        return Finding(name, OK, row.get("version", "") + (built if module == "torch" else ""))
    state, remedy = _WITHOUT[module]
    top = module.partition(".")[0]
    if re.fullmatch(rf"ModuleNotFoundError: No module named '{top}(\.\w+)?'", error):
        return Finding(name, state, "not installed", remedy)
    if module == "nvidia.dali":  # `--loader auto` takes it, since it is installed
        state, remedy = FAILED, "Install it anew, or train with --loader torchvision."
    elif state == FAILED:
        remedy = f"Install it anew: pip install --force-reinstall {module}."
    return Finding(name, state, f"can't be imported: {error}", remedy)


def together(distribution: Distribution = metadata.distribution) -> list[Finding]:
    """Compare what the packages require of each other with what is installed."""
    problems = sorted(set(_unmet(distribution)))
    if not problems:
        return [Finding("versions", OK, "go together")]
    return [
        Finding(
            "versions",
            WARNING,
            text,
            f"pip install '{wanted}', or a new environment from the lock file.",
        )
        for text, wanted in problems
    ]


def _unmet(distribution: Distribution) -> list[tuple[str, str]]:
    problems: list[tuple[str, str]] = []
    seen: set[str] = set()
    waiting = [*ROOTS, *dali_wheels(distribution)]
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in seen:
            continue
        seen.add(name)
        try:
            found = distribution(name)
        except metadata.PackageNotFoundError:
            continue  # told by `imports`, or by what requires it
        for text in found.requires or []:
            try:
                required = Requirement(text)
            except InvalidRequirement:
                continue
            if required.marker is not None and not required.marker.evaluate({"extra": ""}):
                continue
            wanted = f"{required.name}{required.specifier}"
            try:
                version = distribution(required.name).version
            except metadata.PackageNotFoundError:
                problems.append((f"{name} needs {wanted}, which is not installed", wanted))
                continue
            if not required.specifier.contains(version, prereleases=True):
                problems.append((f"{name} needs {wanted}, but {version} is installed", wanted))
            waiting.append(required.name)
    return problems


def dali_wheels(distribution: Distribution = metadata.distribution) -> dict[str, str]:
    """Return version by name of each of DALI's wheels that is installed."""
    found = {}
    for toolkit in (110, 120, 130):
        name = f"nvidia-dali-cuda{toolkit}"
        try:
            found[name] = distribution(name).version
        except metadata.PackageNotFoundError:
            continue
    return found


def dali_and_torch(
    wheels: Mapping[str, str], torch_cuda: str | None, *, gpu: bool = True
) -> Finding:
    """Say whether DALI's wheel is one, and made for the CUDA of torch.

    Args:
        wheels: Of :func:`dali_wheels`.
        torch_cuda: Version of CUDA that torch is built for; None for the CPU.
        gpu: Whether the system shows a GPU: without one the CUDAs don't matter.
    """
    name = "DALI and torch"
    if len(wheels) > 1:
        both = " and ".join(wheels)
        return Finding(
            name,
            WARNING,
            f"{both} are both installed, and their files overwrite each other",
            f"pip uninstall -y {' '.join(wheels)}, then pip install the one for torch's CUDA.",
        )
    if not wheels:
        return Finding(name, OK, "no DALI")
    (wheel, version), *_ = wheels.items()
    made_for = wheel.removeprefix("nvidia-dali-cuda").removesuffix("0")
    if torch_cuda is None:
        return Finding(name, OK, f"{wheel} {version} beside torch for the CPU")
    major = torch_cuda.partition(".")[0]
    if made_for == major:
        return Finding(name, OK, f"{wheel} {version}, both for CUDA {major}")
    found = f"{wheel} {version} (CUDA {made_for}) beside torch for CUDA {torch_cuda}"
    if not gpu:
        return Finding(name, OK, f"{found}: no matter without a GPU")
    return Finding(
        name,
        WARNING,
        found,
        "Two CUDA runtimes share the process, and the driver must know both. If a line below says "
        f"that decoding or an applier fails: pip uninstall -y {wheel}, then pip install "
        f"nvidia-dali-cuda{major}0.",
    )
