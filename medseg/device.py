"""Which device work runs on, what it can do, and how much memory it took."""

import os
import platform
import sys
from pathlib import Path
from typing import Any

import torch

from medseg.errors import SettingsError

NAMES = "auto, cpu, cuda, cuda:n, mps or xpu"

_OUT_OF_MEMORY = (
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "alloc_failed",
    "bad_alloc",
    "out_of_device_memory",
    "out_of_host_memory",
)
"""In what a device or the system says when memory ends, in small letters."""


def pick_device(name: str) -> torch.device:
    """The device meant by ``auto``, ``cpu``, ``cuda``, ``cuda:n``, ``mps`` or ``xpu``.

    ``auto`` is a CUDA device where there is one, else the CPU: on the GPUs of Apple
    and Intel nothing was ever run, so that they want to be named. Of several processes
    that ``torchrun`` started each takes a GPU of its own, unless one is named. The
    device becomes the current one of the calling thread.

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
        raise SettingsError(f"--device {name}: expected {NAMES}") from error
    if device.type not in {"cpu", "cuda", "mps", "xpu"}:
        raise SettingsError(f"--device {name}: expected {NAMES}")
    if device.type == "cpu":
        return device
    module: Any = getattr(torch, device.type)
    kind = device.type.upper()
    if not module.is_available():
        raise SettingsError(f"--device {name}: no {kind} device here; use --device cpu")
    if (device.index or 0) >= module.device_count():
        raise SettingsError(
            f"--device {name}: only {module.device_count()} {kind} devices here"
        )
    use_device(device)
    return device


def use_device(device: torch.device) -> None:
    """Makes a GPU the current one of the calling thread; each thread begins at 0.

    Events, kernels of Triton and pinned memory belong to the current device, whatever
    device the tensors are on.
    """
    if device.type in {"cuda", "xpu"} and device.index is not None:
        module: Any = getattr(torch, device.type)
        module.set_device(device)


def send(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """The tensor on a device; a CUDA device copies while host and others go on."""
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def has_float64(device: torch.device) -> bool:
    """Whether the device computes in double precision, which Apple's do not."""
    return device.type != "mps"


def has_bfloat16(device: torch.device) -> bool:
    """Whether a GPU computes in bfloat16 itself; older ones emulate it slowly."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "xpu"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory could not be had, on any device."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(
        sign in text for sign in _OUT_OF_MEMORY
    )


def random_state(device: torch.device) -> torch.Tensor | None:
    """State of the GPU's random numbers, such as dropout's; None on the CPU."""
    if device.type == "cpu":
        return None
    module: Any = getattr(torch, device.type)
    arguments = () if device.type == "mps" else (device,)
    state: torch.Tensor = module.get_rng_state(*arguments)
    return state


def set_random_state(device: torch.device, state: torch.Tensor | None) -> None:
    """Goes on with random numbers from a state of a device of the same type."""
    if state is None or device.type == "cpu":
        return
    module: Any = getattr(torch, device.type)
    module.set_rng_state(state, *(() if device.type == "mps" else (device,)))


def describe_device(device: torch.device) -> str:
    """The device in words, such as ``"cpu (2 threads, x86_64)"``."""
    if device.type in {"cuda", "xpu"}:
        module: Any = getattr(torch, device.type)
        return f"{device} ({module.get_device_name(device)})"
    if device.type == "mps":
        return f"mps ({platform.processor() or platform.machine()})"
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
    if sys.platform == "win32":
        import psutil

        return float(psutil.Process().memory_info().peak_wset) / 1e6
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak / 1e3
