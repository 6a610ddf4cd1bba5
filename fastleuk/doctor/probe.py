"""Questions that may crash who asks them; each is asked in a process of its own.

``python -m fastleuk.doctor.probe NAME ARGUMENT…`` prints one JSON object a line, each as soon as
it is known, so that what was found before a crash counts.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

MARK = "fastleuk-probe "
"""In front of each answer: libraries print things of their own."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a probe has said.

    Attributes:
        rows: Its objects, in order.
        failure: Why it ended early; empty if it did not.
    """

    rows: list[dict[str, Any]]
    failure: str = ""


def ask(name: str, arguments: Sequence[str] = (), *, timeout: float = 300) -> Answer:
    """Run a probe and return its answer, whatever happens to it."""
    command = [sys.executable, "-m", "fastleuk.doctor.probe", name, *arguments]
    try:
        done = subprocess.run(command, capture_output=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired as error:
        return Answer(parse(error.stdout or b""), f"did not answer within {timeout:g} seconds")
    failure = ""
    if done.returncode < 0:
        failure = f"crashed with signal {-done.returncode}"
    elif done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        failure = said[-1]
    return Answer(parse(done.stdout), failure)


def parse(output: bytes) -> list[dict[str, Any]]:
    """Return the answers in a probe's output."""
    lines = output.decode(errors="replace").splitlines()
    return [json.loads(line[len(MARK) :]) for line in lines if line.startswith(MARK)]


def _imports(*modules: str) -> Iterator[dict[str, Any]]:
    """Import each module; says which version, or why not."""
    for module in modules:
        row: dict[str, Any] = {"module": module}
        try:
            found = importlib.import_module(module)
            row["version"] = str(getattr(found, "__version__", ""))
            if module == "torch":
                row["cuda"] = found.version.cuda
        except Exception as error:  # whatever an extension comes up with
            text = (str(error).strip().splitlines() or [""])[0]
            row["error"] = f"{type(error).__name__}: {text}"
        yield row


def _gpus() -> Iterator[dict[str, Any]]:
    """Describe torch's GPUs, and multiply two matrices on each in both half precisions."""
    import torch

    yield {
        "available": torch.cuda.is_available(),
        "count": torch.cuda.device_count(),
        "cuda": torch.version.cuda,
        "kernels": torch.cuda.get_arch_list() if torch.cuda.is_available() else [],
    }
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        properties = torch.cuda.get_device_properties(index)
        row: dict[str, Any] = {
            "index": index,
            "name": properties.name,
            "memory": properties.total_memory,
            "capability": f"{properties.major}.{properties.minor}",
        }
        with torch.cuda.device(index):
            row["bf16"] = torch.cuda.is_bf16_supported(including_emulation=False)
            dtypes = ["float32", "float16"] + ["bfloat16"] * row["bf16"]
            for dtype in dtypes:
                try:
                    ones = torch.ones(64, 64, device="cuda", dtype=getattr(torch, dtype))
                    right = bool(((ones @ ones) == 64).all())
                    row[dtype] = "" if right else "multiplies wrongly"
                except RuntimeError as error:
                    row[dtype] = str(error).splitlines()[0]
        yield row


def _appliers(device: str, *appliers: str) -> Iterator[dict[str, Any]]:
    """Give the self-test of each applier on a device."""
    from fastleuk.doctor.pixels import self_tests

    yield from self_tests(device, appliers)


def _decoding(device: str) -> Iterator[dict[str, Any]]:
    """Decode a built-in image of each format with DALI, beside PIL."""
    from fastleuk.doctor.decoding import differences

    yield from differences(device)


PROBES: dict[str, Callable[..., Iterator[dict[str, Any]]]] = {
    "imports": _imports,
    "gpus": _gpus,
    "appliers": _appliers,
    "decoding": _decoding,
}


def main(arguments: Sequence[str]) -> None:
    """Answer."""
    name, *rest = arguments
    for row in PROBES[name](*rest):
        print(MARK + json.dumps(row), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
