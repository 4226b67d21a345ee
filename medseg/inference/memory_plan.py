"""What predicting a scan will take, before it starts; and how to make it take less.

    peak = what the process holds (the scan, prepared, and its label map among it)
         + sums of logits      4·L·(depth + 1)·cross-section
         + weights             8·depth·cross-section, where windows are blended
         + one window          activations of the network for a batch of windows
         + export              a fixed number of slabs

where depth is that of a window and the cross-section that of a strip of the scan.
Narrower strips need less; windows that lie across a border of strips are computed for
both.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from math import prod

from medseg.inference.label_writer import SLAB_VALUES
from medseg.inference.layout import AxisLayout
from medseg.inference.memory_budget import MemoryBudget, too_small
from medseg.inference.tiling import Box, with_rows
from medseg.inference.window_spec import WindowSpec

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
