"""Which device, and in which precision."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from fastleuk.config.option import device_name
from fastleuk.errors import ConfigError, MissingDependencyError


@dataclass(frozen=True, slots=True)
class Precision:
    """How the forward pass computes: ``dtype`` is float32, bfloat16 or float16."""

    device: torch.device
    dtype: torch.dtype
    notice: str = ""

    def autocast(self) -> AbstractContextManager:
        """Return the context in which forward passes run."""
        return torch.autocast(
            self.device.type, dtype=self.lower, enabled=self.dtype is not torch.float32
        )

    @property
    def lower(self) -> torch.dtype:
        """The dtype autocast is told of; never float32, which it would refuse."""
        return torch.bfloat16 if self.dtype is torch.float32 else self.dtype

    def scaler(self) -> torch.amp.GradScaler:
        """Return the gradient scaler: active for float16 only."""
        return torch.amp.GradScaler(self.device.type, enabled=self.dtype is torch.float16)


def choose_device(device: str | torch.device) -> torch.device:
    """Resolve ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; ``gpu`` is ``cuda``.

    Raises:
        ConfigError: another word, or a GPU that can't be used.
    """
    name = device_name(str(device))
    if name == "auto":
        return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    if name == "cpu":
        return torch.device("cpu")
    if name.partition(":")[0] != "cuda":
        raise ConfigError(f"--device {device}: unknown. Choose auto, cpu, cuda or cuda:N.")
    if not torch.cuda.is_available():
        raise ConfigError(
            f"--device {name}: torch sees no NVIDIA GPU here. Use --device cpu, or check the "
            "driver with nvidia-smi."
        )
    index = name.partition(":")[2] or "0"
    if not index.isdigit() or int(index) >= torch.cuda.device_count():
        raise ConfigError(
            f"--device {name}: this machine has GPUs 0 to {torch.cuda.device_count() - 1}."
        )
    return torch.device("cuda", int(index))


def describe_device(device: torch.device) -> str:
    """Return the device's name for a person."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"cpu ({torch.get_num_threads()} threads)"


def choose_precision(device: torch.device, amp: bool, dtype: str = "auto") -> Precision:
    """Choose the dtype of ``--amp``: with ``auto`` the one that is faster here, if any is.

    A CPU without bfloat16 instructions emulates them: training under autocast was measured 6
    to 15 times slower there, so ``auto`` keeps float32 and ``notice`` says so.

    Args:
        device: Where the model is.
        amp: Whether mixed precision was asked for.
        dtype: ``auto``, ``bf16`` or ``fp16``.

    Raises:
        ConfigError: the device can't compute in ``dtype``.
    """
    if device.type != "cuda" and dtype == "fp16":
        raise ConfigError(
            f"--amp-dtype fp16 needs an NVIDIA GPU, and this run is on the {device.type}. Use "
            "bf16 or auto."
        )
    if not amp:
        return Precision(device, torch.float32)
    if device.type == "cuda":
        return Precision(device, _cuda_dtype(device, dtype))
    if cpu_has_bf16():
        return Precision(device, torch.bfloat16)
    if dtype == "bf16":
        notice = "--amp-dtype bf16: this CPU has no bfloat16 instructions and emulates them slowly."
        return Precision(device, torch.bfloat16, notice)
    notice = "--amp: this CPU has no bfloat16 instructions, so float32 is used (it is faster here)."
    return Precision(device, torch.float32, notice)


def _cuda_dtype(device: torch.device, dtype: str) -> torch.dtype:
    with torch.cuda.device(device):
        bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    if dtype == "bf16" and not bf16:
        raise ConfigError(
            f"--amp-dtype bf16: {torch.cuda.get_device_name(device)} has no bfloat16 (Ampere and "
            "later have). Use fp16 or auto."
        )
    return torch.bfloat16 if bf16 and dtype != "fp16" else torch.float16


@contextmanager
def kernels(device: torch.device, *, deterministic: bool) -> Iterator[None]:
    """Within it, take the fastest convolutions, or with ``deterministic`` those that repeat.

    The fastest are found by trial on a GPU and may differ from process to process; elsewhere than
    in training, cuDNN's own choice is left alone, so that an evaluation repeats. Deterministic
    matrix products need ``CUBLAS_WORKSPACE_CONFIG`` before the first one; it is set here.

    Raises:
        ConfigError: an operation within has no deterministic implementation.
    """
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark, cudnn.deterministic, torch.are_deterministic_algorithms_enabled()
    deterministic = deterministic or before[2]
    if deterministic and device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    try:
        cudnn.benchmark = device.type == "cuda" and not deterministic
        cudnn.deterministic = deterministic
        torch.use_deterministic_algorithms(deterministic)
        yield
    except RuntimeError as error:
        text = str(error)
        if "does not have a deterministic implementation" not in text:
            raise
        raise ConfigError(
            f"--deterministic: {text.split(' does not')[0]} has no implementation that repeats on "
            f"the {device.type}. Leave it out, or choose another --backbone."
        ) from error
    finally:
        cudnn.benchmark, cudnn.deterministic = before[:2]
        torch.use_deterministic_algorithms(before[2])


def check_compiler(device: torch.device) -> None:
    """Refuse ``--compile`` where its code can't be built.

    Raises:
        MissingDependencyError: no Triton for the GPU, or no C++ compiler for the CPU.
    """
    if device.type == "cuda":
        if importlib.util.find_spec("triton") is None:
            raise MissingDependencyError("--compile needs Triton on a GPU: pip install triton.")
        return
    names = [os.environ["CXX"]] if "CXX" in os.environ else ["g++", "clang++"]
    if not any(shutil.which(name) for name in names):
        raise MissingDependencyError(
            f"--compile needs a C++ compiler on the CPU, and none of {', '.join(names)} is here. "
            "Install g++, or leave out --compile."
        )


def cpu_has_bf16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Say whether the CPU computes in bfloat16 natively (x86: AVX512-BF16 or AMX; Arm: bf16)."""
    try:
        text = cpuinfo.read_text(encoding="ascii", errors="ignore")
    except OSError:
        return False
    for line in text.splitlines():
        key, _, flags = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return bool({"avx512_bf16", "amx_bf16", "bf16"} & set(flags.split()))
    return False
