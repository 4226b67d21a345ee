"""Weights in a network for other channels or structures: answers stay."""

import pytest
import torch
from network_zoo import NETWORKS

from medseg.errors import ModelError
from medseg.networks.build import build_network
from medseg.networks.network import SegmentationNetwork
from medseg.networks.settings import (
    NetworkSettings,
    PluginNetworkSettings,
    UNetSettings,
)
from medseg.networks.transfer import InitialWeights, channel_axes, head_names

OTHERS = {name: s for name, s in NETWORKS.items() if name != "stem_image"}
MONAI = PluginNetworkSettings(
    name="monai.networks.nets:UNet",
    args={"channels": [4, 8], "strides": [2]},
    multiple_of=2,
)


def made(
    settings: NetworkSettings, seed: int, channels: int, outputs: int, dims: int = 2
) -> SegmentationNetwork:
    torch.manual_seed(seed)
    return build_network(
        settings, spatial_dims=dims, in_channels=channels, out_channels=outputs
    ).eval()


@pytest.mark.parametrize("name", [*OTHERS, "monai"])
def test_known_structures_of_known_channels_are_answered_as_before(name: str) -> None:
    """Channels in another order and one more; a structure between, two exchanged."""
    settings = OTHERS.get(name, MONAI)
    parent, child = made(settings, 0, 2, 3), made(settings, 1, 3, 4)
    new = child.state_dict()
    initial = InitialWeights(
        "parent", parent.state_dict(), (1, 0, None), (0, None, 2, 1), 2, 3
    )
    initial.put_into(child, settings)
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        before, after = parent(image[:, [1, 0]]), child(image)
    torch.testing.assert_close(after[:, [0, 3, 2]], before, rtol=1e-3, atol=1e-4)
    heads = head_names(child, settings)
    assert heads
    if name == "unet":  # the row of the new structure is the fresh network's
        kept = child.state_dict()["core.heads.0.weight"][1]
        torch.testing.assert_close(kept, new["core.heads.0.weight"][1])


@pytest.mark.parametrize("dims", [2, 3])
def test_deep_supervision_heads_come_along(dims: int) -> None:
    settings = UNetSettings(channels=(4, 6, 8), strides=(1, 2, 2), deep_supervision=1)
    parent, child = made(settings, 0, 1, 2, dims), made(settings, 1, 1, 3, dims)
    initial = InitialWeights("p", parent.state_dict(), (0,), (0, 1, None), 1, 2)
    assert "2 of 3 rows" in initial.put_into(child, settings)
    image = torch.randn(1, 1, *(16,) * dims)
    with torch.no_grad():
        before, after = parent.train()(image), child.train()(image)
    assert len(before) == len(after) == 2
    for old, new in zip(before, after, strict=True):
        torch.testing.assert_close(new[:, :2], old)


def test_a_head_that_the_parent_did_not_have_begins_at_random() -> None:
    plain = UNetSettings(channels=(4, 6, 8), strides=(1, 2, 2))
    deep = plain.replaced(deep_supervision=1, presence_head=True)
    parent, child = made(plain, 0, 1, 2), made(deep, 1, 1, 2)
    initial = InitialWeights("p", parent.state_dict(), (0,), (0, 1), 1, 2)
    words = initial.put_into(child, deep)
    assert "core.heads.1.weight" in words
    assert "presence.weight" in words
    image = torch.randn(1, 1, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(child(image), parent(image))


def test_another_network_is_refused_by_the_tensor_that_differs() -> None:
    small, large = UNetSettings(channels=(4, 8), strides=(1, 2)), OTHERS["unet"]
    initial = InitialWeights("p", made(small, 0, 1, 2).state_dict(), (0,), (0, 1), 1, 2)
    with pytest.raises(ModelError, match=r"another network than plan\.network: core"):
        initial.put_into(made(large, 0, 1, 2), large)


def test_an_image_beside_other_features_cannot_be_reordered_but_can_stay() -> None:
    settings = NETWORKS["stem_image"]
    parent, child = made(settings, 0, 2, 2), made(settings, 1, 2, 3)
    state = parent.state_dict()
    with pytest.raises(ModelError, match="other features beside the channels"):
        InitialWeights("p", state, (1, 0), (0, 1, None), 2, 2).put_into(child, settings)
    InitialWeights("p", state, (0, 1), (0, 1, None), 2, 2).put_into(child, settings)
    image = torch.randn(1, 2, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(child(image)[:, :2], parent(image))


def test_axes_are_found_by_building_and_draw_no_random_number() -> None:
    network = made(OTHERS["unet"], 0, 1, 2)
    before = torch.get_rng_state()
    axes = channel_axes(network, OTHERS["unet"])
    assert torch.equal(before, torch.get_rng_state())
    assert {axis for found in axes.values() for axis in found.image} == {1}
    assert axes["core.heads.0.weight"].logits == (0,)
