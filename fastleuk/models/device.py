"""Which device, and in which precision."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import torch

from fastleuk.errors import ConfigError


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


def choose_device(name: str) -> torch.device:
    """Resolve ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        ConfigError: a GPU was asked for and can't be used.
    """
    if name == "auto":
        return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    if name == "cpu":
        return torch.device("cpu")
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


def choose_precision(device: torch.device, amp: bool) -> Precision:
    """Choose the dtype that makes ``--amp`` faster here: float32 where nothing would.

    A CPU without bfloat16 instructions emulates them: training under autocast was measured 6
    to 15 times slower there, so float32 is kept and ``notice`` says so.
    """
    if not amp:
        return Precision(device, torch.float32)
    if device.type == "cuda":
        bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        return Precision(device, torch.bfloat16 if bf16 else torch.float16)
    if cpu_has_bf16():
        return Precision(device, torch.bfloat16)
    notice = "--amp: this CPU has no bfloat16 instructions, so float32 is used (it is faster here)."
    return Precision(device, torch.float32, notice)


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
