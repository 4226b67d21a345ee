"""How much memory prediction may take, and how much there is."""

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from medseg.errors import PredictionError
from medseg.inference.byte_sizes import in_words

SAFE_SHARE = 0.8
"""Of the memory that is free, what prediction takes by default."""

_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class MemoryBudget:
    """Bytes that this process may hold.

    Attributes:
        ram: Resident memory of the process, all of it.
        vram: Memory of the device; 0 on a CPU.
    """

    ram: int
    vram: int = 0


def find_budget(
    device: torch.device, *, ram: int | None = None, vram: int | None = None
) -> MemoryBudget:
    """What was asked for, or a safe share of what is free now.

    Args:
        device: Where windows are predicted.
        ram: Largest resident size of the process, in bytes.
        vram: Largest memory on the device, in bytes.
    """
    if ram is None:
        ram = resident_bytes() + int(SAFE_SHARE * free_ram())
    if device.type != "cuda":
        return MemoryBudget(ram)
    if vram is None:
        free, _ = torch.cuda.mem_get_info(device)
        held = torch.cuda.memory_reserved(device)
        used = torch.cuda.memory_allocated(device)
        vram = held - used + int(0.9 * free)
    return MemoryBudget(ram, vram)


def free_ram() -> int:
    """Bytes that can still be had, by the machine and by the container's limit."""
    import psutil

    free = int(psutil.virtual_memory().available)
    limit = _container_headroom()
    return free if limit is None else max(0, min(free, limit))


def _container_headroom() -> int | None:
    """Limit minus use of the control group (version 2 or 1); None without limit.

    Pages of files count as use, but are given back when memory is needed.
    """
    pairs = (
        ("memory.max", "memory.current", "memory.stat", "inactive_file"),
        (
            "memory/memory.limit_in_bytes",
            "memory/memory.usage_in_bytes",
            "memory/memory.stat",
            "total_inactive_file",
        ),
    )
    for limit_file, use_file, stat_file, key in pairs:
        try:
            limit = (_CGROUP / limit_file).read_text().strip()
            used = int((_CGROUP / use_file).read_text())
            stat = (_CGROUP / stat_file).read_text()
        except (OSError, ValueError):
            continue
        if not limit.isdigit() or int(limit) > 2**60:
            return None
        found = re.search(rf"^{key} (\d+)$", stat, re.MULTILINE)
        return int(limit) - used + (int(found[1]) if found else 0)
    return None


def resident_bytes() -> int:
    """Memory that this process holds now."""
    import psutil

    return int(psutil.Process(os.getpid()).memory_info().rss)


def release_memory(device: torch.device) -> None:
    """Gives freed memory back to the system, so that the peak stays what it must."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif sys.platform == "linux":
        import ctypes

        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def too_small(*, name: str, what: str, allowed: int, needed: int) -> PredictionError:
    """The error for a budget that nothing fits into, with one that would do."""
    return PredictionError(
        f"{name}: {in_words(allowed)} of {what} do not suffice; the smallest that "
        f"does is {in_words(needed * 1.05)}, set --max-{what.lower()}"
    )
