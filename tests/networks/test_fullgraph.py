"""Networks are traced whole, so that compiling them pays."""

import pytest
import torch
from network_zoo import NETWORKS, SMALL, build

from medseg.networks.settings import UNetSettings


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", ["unet", "residual"])
def test_a_network_is_one_graph(name: str, training: bool) -> None:
    network = build(NETWORKS[name], 3).train(training)
    x = torch.zeros(1, 1, 16, 16, 16)
    traced = torch.compile(network, backend="eager", fullgraph=True)
    first, second = (torch.utils._pytree.tree_leaves(f(x)) for f in (network, traced))
    assert [t.shape for t in first] == [t.shape for t in second]


def test_a_presence_head_is_in_it() -> None:
    network = build(UNetSettings(presence_head=True, **SMALL), 3, outputs=3)
    traced = torch.compile(network, backend="eager", fullgraph=True)
    logits, presence = traced(torch.zeros(1, 1, 16, 16, 16), with_presence=True)
    assert logits.shape == (1, 3, 16, 16, 16)
    assert presence.shape == (1, 3)
