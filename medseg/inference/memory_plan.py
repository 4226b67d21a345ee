"""How much memory prediction may take, what a scan will take, and how to take less."""

import os
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from pathlib import Path
from weakref import WeakKeyDictionary

import torch
from torch import nn

from medseg.errors import PredictionError
from medseg.inference.label_writer import SLAB_VALUES
from medseg.inference.settings import in_words
from medseg.inference.tiling import Box, with_rows
from medseg.inference.window_spec import AxisLayout, WindowSpec
from medseg.networks.analysis.costs import predict_memory
from medseg.networks.network import SegmentationNetwork

CRUDE_BYTES_PER_VOXEL = 1500
"""More than networks of 32 channels at full resolution hold in float32 (measured:
about 900); for budgets that leave plenty."""

WORKSPACE = 1.4
"""Convolutions hold copies of their own beside what they are given and return
(measured: up to 1.39, an FCN-32s in bfloat16 on two threads; most take none)."""

_KNOWN: WeakKeyDictionary[nn.Module, dict[tuple[int, ...], int]] = WeakKeyDictionary()


def window_bytes(
    network: nn.Module,
    shape: Sequence[int],
    *,
    num_outputs: int,
    by_layers: bool = True,
) -> int:
    """Largest number of bytes in use at once for one window, logits among them.

    Args:
        network: Any network.
        shape: Of the window, (C, *spatial).
        num_outputs: Channels of the logits.
        by_layers: Follow tensors through the layers, which takes up to a second.
    """
    voxels = prod(shape[1:])
    outside = 4 * voxels * (shape[0] + 2 * num_outputs)
    crude = CRUDE_BYTES_PER_VOXEL * voxels + outside
    if not by_layers or not isinstance(network, SegmentationNetwork):
        return crude
    known = _KNOWN.setdefault(network, {})
    key = tuple(shape)
    if key not in known:
        known[key] = _by_layers(network, key) + outside
    return known[key]


def _by_layers(network: SegmentationNetwork, shape: tuple[int, ...]) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of fake tensors, about nothing of ours
        return int(WORKSPACE * predict_memory(network, (1, *shape), training=False))


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


def trim_ram() -> None:
    """Gives freed memory back to the system, so that the peak stays what it must."""
    if sys.platform == "linux":
        import ctypes

        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def release_memory(device: torch.device) -> None:
    """After a lack of memory: what is free in many pieces becomes free as a whole."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    trim_ram()


def too_small(*, name: str, what: str, allowed: int, needed: int) -> PredictionError:
    """The error for a budget that nothing fits into, with one that would do."""
    return PredictionError(
        f"{name}: {in_words(allowed)} of {what} do not suffice; the smallest that "
        f"does is {in_words(needed * 1.05)}, set --max-{what.lower()}"
    )


EXPORT_BYTES = 64 * SLAB_VALUES
"""Slabs of labels, indices and interpolated values that exist at once (256 MB)."""

MOST_STRIPS = 32

BATCH_VOXELS = 2**22
"""As many keep a large GPU busy: two windows of 128 x 128 x 128 at once."""

MOST_WINDOWS = 16
"""Most windows per call that are chosen by themselves."""

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
        batch_size: Windows per call.
        sums_on_device: Whether sums of logits fit beside the windows on a GPU.
        image_on_device: Whether the prepared scan does, too.
    """

    windows: WindowSpec
    blocks: tuple[Box, ...]
    axis: int
    ram: int
    batch_size: int
    sums_on_device: bool
    image_on_device: bool


@dataclass(frozen=True)
class Demand:
    """What a scan asks for.

    Attributes:
        whole: All voxels of the scan's (cropped) grid.
        region: The voxels of the prepared grid that a block of it needs.
        layout: Order of the stream's axes.
        num_outputs: Channels of the logits.
        batch_size: Windows per call; None for as many as pay and fit.
        window_bytes: Activations for one window.
        resident: Memory that the process holds already.
        image: Bytes of the prepared scan.
        is_gpu: Whether windows are computed elsewhere.
    """

    whole: Box
    region: Callable[[Box], Box]
    layout: AxisLayout
    num_outputs: int
    batch_size: int | None
    window_bytes: WindowBytes
    resident: int
    image: int = 0
    is_gpu: bool = False

    def sums(self, windows: WindowSpec, block: Box, axis: int, batch_size: int) -> int:
        """Bytes of sums and weights for a block.

        Where few windows lie across the axis, a batch takes some further along it.
        """
        region = self.layout.box(self.region(block))
        sizes = [int(part.stop - part.start) for part in region]
        across = prod(
            -(-size // width)
            for a, (size, width) in enumerate(zip(sizes, windows.size, strict=True))
            if a != axis
        )
        depth = windows.size[axis] * -(-batch_size // across)
        cross = prod(sizes) // sizes[axis]
        rows = min(depth, sizes[axis])
        return 4 * cross * (self.num_outputs * (rows + 2) + 3 * rows)

    def batch_sizes(self, windows: WindowSpec) -> list[int]:
        """Windows per call that are worth a try, largest first."""
        if self.batch_size is not None or not self.is_gpu:
            return [self.batch_size or 1]
        size = max(1, min(MOST_WINDOWS, BATCH_VOXELS // windows.voxels))
        halved = [size]
        while halved[-1] > 1:
            halved.append(halved[-1] // 2)
        return halved


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
        sizes = demand.batch_sizes(candidate)
        for count in range(1, MOST_STRIPS + 1):
            blocks = strips(demand, count, axis)
            plans = [_weigh(demand, candidate, blocks, axis, n, budget) for n in sizes]
            fitting = [
                plan
                for plan in plans
                if plan.ram <= budget.ram and _fits_device(demand, plan, budget)
            ]
            if fitting:  # several windows at once are worth less than sums on a GPU
                return next((p for p in fitting if p.sums_on_device), fitting[-1])
            if len(blocks) < count:
                break
        smallest = plans[-1]
        needed, what = smallest.ram, "RAM"
        if not _fits_device(demand, smallest, budget):
            needed, what = _in_network(demand, smallest), "VRAM"
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


def _fits_device(demand: Demand, plan: MemoryPlan, budget: MemoryBudget) -> bool:
    return not demand.is_gpu or _in_network(demand, plan) <= budget.vram


def _in_network(demand: Demand, plan: MemoryPlan) -> int:
    """Bytes of a batch of windows in the network."""
    return plan.batch_size * demand.window_bytes(plan.windows.size)


def _weigh(
    demand: Demand,
    windows: WindowSpec,
    blocks: tuple[Box, ...],
    axis: int,
    batch_size: int,
    budget: MemoryBudget,
) -> MemoryPlan:
    sums = max(demand.sums(windows, block, axis, batch_size) for block in blocks)
    window = batch_size * demand.window_bytes(windows.size)
    taken = sums + window + EXPORT_BYTES
    on_device = demand.is_gpu and taken <= budget.vram
    ram = demand.resident + EXPORT_BYTES
    if not on_device:
        ram += sums
    if not demand.is_gpu:
        ram += window
    return MemoryPlan(
        windows,
        blocks,
        axis,
        ram,
        batch_size,
        sums_on_device=on_device,
        image_on_device=on_device and taken + demand.image <= budget.vram,
    )
