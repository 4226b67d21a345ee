"""Which device work runs on, and how much memory it took."""

import os
import platform
import resource
import sys
from pathlib import Path

import torch

from medseg.errors import SettingsError


def pick_device(name: str) -> torch.device:
    """The device meant by ``auto``, ``cpu``, ``cuda`` or ``cuda:n``.

    Of several processes that ``torchrun`` started each takes a GPU of its own, unless
    one is named.

    Raises:
        SettingsError: There is no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and "LOCAL_RANK" in os.environ:
        name = f"cuda:{os.environ['LOCAL_RANK']}"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise SettingsError(
            f"--device {name}: expected auto, cpu, cuda or cuda:n"
        ) from error
    if device.type not in {"cpu", "cuda"}:
        raise SettingsError(f"--device {name}: expected auto, cpu, cuda or cuda:n")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SettingsError(f"--device {name}: no CUDA device here; use --device cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise SettingsError(
            f"--device {name}: only {torch.cuda.device_count()} CUDA devices here"
        )
    return device


def describe_device(device: torch.device) -> str:
    """The device in words, such as ``"cpu (2 threads, x86_64)"``."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"cpu ({torch.get_num_threads()} threads, {platform.machine()})"


def peak_memory_mb(device: torch.device) -> float:
    """Largest memory this process has held so far, in MB; the GPU's on a GPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    status = Path("/proc/self/status")
    if status.is_file():  # `ru_maxrss` would begin at what the parent process held
        lines = status.read_text(encoding="utf-8").splitlines()
        high = next((x for x in lines if x.startswith("VmHWM")), None)
        if high is not None:
            return int(high.split()[1]) * 1024 / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak / 1e3
