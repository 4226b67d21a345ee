"""How much memory prediction may take, what a scan will take, and how to take less."""

import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from pathlib import Path

import torch

from medseg.errors import PredictionError
from medseg.inference.byte_sizes import in_words
from medseg.inference.label_writer import SLAB_VALUES
from medseg.inference.layout import AxisLayout
from medseg.inference.tiling import Box, with_rows
from medseg.inference.window_spec import WindowSpec

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


EXPORT_BYTES = 64 * SLAB_VALUES
"""Slabs of labels, indices and interpolated values that exist at once (256 MB)."""

MOST_STRIPS = 32

WindowBytes = Callable[[tuple[int, ...]], int]
"""Activations for one window of a size, in bytes."""


@dataclass(frozen=True)
class MemoryPlan:
    """Windows and strips that fit.

    Attributes:
        windows: The windows asked for, or smaller ones.
        blocks: Strips of the scan's (cropped) grid, one after another.
        axis: Axis of the stream along which rows are finished.
        ram: Peak of resident memory that is expected, in bytes.
        sums_on_device: Whether sums of logits fit beside the windows on a GPU.
    """

    windows: WindowSpec
    blocks: tuple[Box, ...]
    axis: int
    ram: int
    sums_on_device: bool


@dataclass(frozen=True)
class Demand:
    """What a scan asks for.

    Attributes:
        whole: All voxels of the scan's (cropped) grid.
        region: The voxels of the prepared grid that a block of it needs.
        layout: Order of the stream's axes.
        num_outputs: Channels of the logits.
        batch_size: Windows per call.
        window_bytes: Activations for one window.
        resident: Memory that the process holds already.
        is_gpu: Whether windows are computed elsewhere.
    """

    whole: Box
    region: Callable[[Box], Box]
    layout: AxisLayout
    num_outputs: int
    batch_size: int
    window_bytes: WindowBytes
    resident: int
    is_gpu: bool = False

    def sums(self, windows: WindowSpec, block: Box, axis: int) -> int:
        """Bytes of sums and weights for a block."""
        region = self.layout.box(self.region(block))
        sizes = [int(part.stop - part.start) for part in region]
        depth = windows.size[axis]
        if depth == 1:
            depth = self.batch_size
        cross = prod(sizes) // sizes[axis]
        rows = min(depth, sizes[axis])
        return 4 * cross * (self.num_outputs * (rows + 2) + 3 * rows)

    def window(self, windows: WindowSpec) -> int:
        """Bytes of a batch of windows in the network."""
        return self.batch_size * self.window_bytes(windows.size)


def plan_memory(
    demand: Demand, windows: WindowSpec, *, axis: int, budget: MemoryBudget, name: str
) -> MemoryPlan:
    """The fewest strips, and the largest windows up to those asked for, that fit.

    Args:
        demand: What the scan asks for.
        windows: Those that are wanted.
        axis: Axis of the stream along which rows are finished.
        budget: What may be held.
        name: Case or file, for the error message.

    Raises:
        PredictionError: Nothing fits; a budget that would do is named.
    """
    needed, what = 0, "RAM"
    candidate: WindowSpec | None = windows
    while candidate is not None:
        for count in range(1, MOST_STRIPS + 1):
            blocks = strips(demand, count, axis)
            plan = _weigh(demand, candidate, blocks, axis, budget)
            if plan.ram <= budget.ram and _fits_device(demand, candidate, budget):
                return plan
            if len(blocks) < count:
                break
        needed, what = plan.ram, "RAM"
        if not _fits_device(demand, candidate, budget):
            needed, what = demand.window(candidate), "VRAM"
        candidate = candidate.halved()
    allowed = budget.ram if what == "RAM" else budget.vram
    raise too_small(name=name, what=what, allowed=allowed, needed=needed)


def strips(demand: Demand, count: int, axis: int) -> tuple[Box, ...]:
    """Blocks of the scan side by side, across the axis whose rows are finished."""
    rolling = demand.layout.order[axis]
    sizes = [part.stop - part.start for part in demand.whole]
    across = max((a for a in range(3) if a != rolling), key=lambda a: sizes[a])
    edges = sorted({i * sizes[across] // count for i in range(count + 1)})
    return tuple(
        with_rows(demand.whole, across, start, stop) for start, stop in pairwise(edges)
    )


def _fits_device(demand: Demand, windows: WindowSpec, budget: MemoryBudget) -> bool:
    return not demand.is_gpu or demand.window(windows) <= budget.vram


def _weigh(
    demand: Demand,
    windows: WindowSpec,
    blocks: tuple[Box, ...],
    axis: int,
    budget: MemoryBudget,
) -> MemoryPlan:
    sums = max(demand.sums(windows, block, axis) for block in blocks)
    window = demand.window(windows)
    on_device = demand.is_gpu and sums + window + EXPORT_BYTES <= budget.vram
    ram = demand.resident + EXPORT_BYTES
    if not on_device:
        ram += sums
    if not demand.is_gpu:
        ram += window
    return MemoryPlan(windows, blocks, axis, ram, on_device)
