"""Costs are those of the real network."""

from collections.abc import Iterator

import pytest
import torch
from network_zoo import NETWORKS, build, count
from torch import nn
from torch.profiler import ProfilerActivity, profile

from medseg.networks.analysis.costs import (
    LiveMemory,
    count_flops,
    predict_costs,
    predict_memory,
    run_once,
)
from medseg.networks.folding import inference_form

CPU = torch.device("cpu")


def measured_peak(
    network: nn.Module, x: torch.Tensor, *, precision: str, training: bool
) -> int:
    """Largest memory at once as torch's allocator reports it."""
    network = network.train() if training else inference_form(network, device=CPU)
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    activities = [ProfilerActivity.CPU]
    with profile(activities=activities, profile_memory=True) as profiler:
        run_once(network, x, precision=precision, training=training)
    events = [
        event
        for event in profiler.profiler.kineto_results.events()
        if event.name() == "[memory]"
    ]
    current = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        current += event.nbytes()
        peak = max(peak, current)
    return peak


KINDS = ["unet", "residual", "attention", "original", "stem_branch", "batch"]
KINDS += ["fcn32", "fcn8", "deeplab", "segresnet"]
CASES = [(name, "float32") for name in KINDS]
CASES += [pytest.param("swinunetr", "float32", marks=pytest.mark.slow)]
CASES += [(name, "bfloat16") for name in ("unet", "residual", "stem_branch")]


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("name", "precision"), CASES)
@pytest.mark.usefixtures("one_thread")
def test_predicted_memory_is_what_torch_takes_but_for_libraries_own_copies(
    name: str, precision: str, training: bool
) -> None:
    if precision == "bfloat16" and not torch.cpu._is_amx_tile_supported():
        pytest.skip("without AMX, oneDNN computes bfloat16 in other formats")
    network = build(NETWORKS[name], 3).to(memory_format=torch.channels_last_3d)
    shape = (2, 1, 32, 32, 32)
    x = torch.zeros(shape).to(memory_format=torch.channels_last_3d)
    predicted = predict_memory(network, shape, precision=precision, training=training)
    measured = measured_peak(network, x, precision=precision, training=training)
    assert 0.75 * measured <= predicted <= 1.05 * measured


def test_live_memory_counts_what_is_alive() -> None:
    with LiveMemory() as live:
        first = torch.zeros(1000)
        second = first + 1
        del first
        third = second * 2
        view = third[:10]
    assert live.peak == 8000
    assert live.current == 8000
    del second, third, view


def test_flops_of_one_convolution_by_hand() -> None:
    network = build(NETWORKS["unet"])
    core = network.core
    first = core.encoder.stages[0][0].conv
    core.forward = lambda x: ([first(x)], x)
    assert count_flops(network, (8, 8)) == 2 * 9 * 1 * 8 * 64


def test_costs_of_a_network() -> None:
    network = build(NETWORKS["unet"], 3)
    costs = predict_costs(network, (16, 16, 16), batch_size=2)
    assert costs.parameters == count(network)
    assert costs.parameter_bytes == 4 * count(network)
    assert costs.training_bytes > costs.inference_bytes > 0
    assert costs.flops_per_voxel == count_flops(network, (16,) * 3) / 16**3
