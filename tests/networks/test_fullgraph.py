"""Networks are traced whole, so that compiling them pays."""

import pytest
import torch
from network_zoo import NETWORKS, build

SLOW = {"segresnet", "swinunetr"}
"""What takes as long to trace as all others together."""


@pytest.fixture(autouse=True)
def _nothing_traced_before() -> None:
    """Eight networks of one class are the most that are traced side by side."""
    torch._dynamo.reset()


def leaves(outputs: object) -> list[torch.Tensor]:
    found: list[torch.Tensor] = torch.utils._pytree.tree_leaves(outputs)
    return found


def traced_alike(name: str, *, dims: int, training: bool) -> bool:
    network = build(NETWORKS[name], dims).train(training)
    size = (64,) * dims if dims == 2 else (16,) * dims
    if name == "original":
        size = network.core.input_size((8,) * dims)
    traced = torch.compile(network, backend="eager", fullgraph=True)
    with torch.no_grad():
        x = torch.zeros(2, 1, *size)
        first, second = (leaves(f(x)) for f in (network, traced))
    return [t.shape for t in first] == [t.shape for t in second]


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow if n in SLOW else ()) for n in NETWORKS],
)
def test_every_network_is_one_graph(name: str) -> None:
    assert traced_alike(name, dims=2, training=True)


@pytest.mark.parametrize("name", ["unet", "residual"])
def test_in_3d_and_for_predictions_as_well(name: str) -> None:
    assert traced_alike(name, dims=3, training=True)
    assert traced_alike(name, dims=3, training=False)


@pytest.mark.parametrize("name", ["unet", "residual", "attention", "batch"])
def test_outputs_at_several_resolutions_are_in_it(name: str) -> None:
    settings = NETWORKS[name].model_copy(update={"deep_supervision": True})
    network = build(settings, 3).train()
    traced = torch.compile(network, backend="eager", fullgraph=True)
    with torch.no_grad():
        outputs = leaves(traced(torch.zeros(1, 1, 16, 16, 16)))
    assert len(outputs) > 1


@pytest.mark.parametrize("name", ["unet", "residual", "attention"])
def test_a_presence_head_is_in_it(name: str) -> None:
    settings = NETWORKS[name].model_copy(update={"presence_head": True})
    network = build(settings, 3, outputs=3)
    traced = torch.compile(network, backend="eager", fullgraph=True)
    with torch.no_grad():
        both = traced(torch.zeros(1, 1, 16, 16, 16), with_presence=True)
    logits, presence = leaves(both)[0], leaves(both)[-1]
    assert logits.shape == (1, 3, 16, 16, 16)
    assert presence.shape == (1, 3)
