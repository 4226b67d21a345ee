"""How many windows go through the network at once, and what fits beside them."""

from dataclasses import replace

import pytest
import torch

from medseg.inference.memory_plan import Demand, MemoryBudget, MemoryPlan, plan_memory
from medseg.inference.streaming import stream_rows
from medseg.inference.tiling import blended_tiling
from medseg.inference.window_spec import AxisLayout, WindowSpec

GB = 10**9
WHOLE = (slice(0, 256), slice(0, 256), slice(0, 256))
DEMAND = Demand(
    whole=WHOLE,
    region=lambda block: block,
    layout=AxisLayout(3),
    num_outputs=3,
    batch_size=None,
    window_bytes=lambda size: 1500 * size[0] * size[1] * size[2],
    resident=GB,
    image=4 * 256**3,
    is_gpu=True,
)


def planned(
    size: int, *, vram: float, demand: Demand = DEMAND, ram: float = 64
) -> MemoryPlan:
    windows = WindowSpec((size,) * 3, 0.5)
    budget = MemoryBudget(int(ram * GB), int(vram * GB))
    return plan_memory(demand, windows, axis=0, budget=budget, name="scan")


@pytest.mark.parametrize(("size", "expected"), [(128, 2), (64, 16), (160, 1), (32, 16)])
def test_small_windows_share_a_call_on_a_gpu(size: int, expected: int) -> None:
    plan = planned(size, vram=100)
    assert plan.batch_size == expected
    assert plan.sums_on_device
    assert plan.image_on_device


def test_the_batch_is_what_fits() -> None:
    # a window of 64³ takes 0.39 GB, the scan 0.07, export 0.26, sums 0.10
    assert planned(64, vram=100).batch_size == 16
    assert planned(64, vram=3.6).batch_size == 8
    assert planned(64, vram=1.0).batch_size == 1
    assert planned(64, vram=1.0).image_on_device
    assert not planned(64, vram=0.78).image_on_device
    assert planned(64, vram=0.78).sums_on_device
    assert not planned(64, vram=0.5).sums_on_device


def test_what_is_asked_for_is_kept_and_a_cpu_takes_one() -> None:
    assert planned(64, vram=100, demand=replace(DEMAND, batch_size=3)).batch_size == 3
    cpu = planned(64, vram=0, demand=replace(DEMAND, is_gpu=False))
    assert (cpu.batch_size, cpu.sums_on_device, cpu.image_on_device) == (
        1,
        False,
        False,
    )


@pytest.mark.parametrize("shape", [(40, 16, 16), (24, 40, 8), (9, 20, 20)])
@pytest.mark.parametrize("batch_size", [1, 4, 7])
@pytest.mark.parametrize("depth", [1, 8])
def test_sums_are_no_deeper_than_planned(
    shape: tuple[int, int, int], batch_size: int, depth: int
) -> None:
    image = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))
    image[:, :, 8:] = 0  # windows of one value join a batch without a place in it
    spec = WindowSpec((depth, 8, 8), 0.5)
    demand = replace(DEMAND, num_outputs=1, whole=tuple(slice(0, n) for n in shape))
    most = demand.sums(spec, demand.whole, 0, batch_size)
    tiling = blended_tiling(shape, window=spec.size, overlap=0.5)
    calls = []

    def network(batch: torch.Tensor) -> torch.Tensor:
        calls.append(len(batch))
        return batch

    rows = stream_rows(network, image, tiling, batch_size=batch_size)
    held = [part.sums.untyped_storage().nbytes() for part in rows]
    assert max(held) <= most
    assert max(calls) <= batch_size
