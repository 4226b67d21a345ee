"""Layers with sizes and fields, and advice that names what to change."""

import pytest
from network_zoo import NETWORKS, build

from medseg.networks.analysis.advice import advise
from medseg.networks.analysis.inspection import Inspection, inspect_network
from medseg.networks.analysis.layers import list_layers
from medseg.networks.settings import UNetSettings


def inspect(name: str, size: tuple[int, ...] = (32, 32)) -> Inspection:
    settings = NETWORKS[name]
    network = build(settings, len(size))
    return inspect_network(network, settings, patch_size=size, batch_size=2)


def test_layers_carry_sizes_and_fields_by_hand() -> None:
    network = build(UNetSettings(channels=(4, 8), strides=(1, 2), convs_per_stage=1))
    layers = list_layers(network, (16, 16))
    kinds = [(layer.kind, layer.shape, layer.field) for layer in layers]
    assert kinds[:3] == [
        ("Conv2d", (4, 16, 16), (3, 3)),
        ("Conv2d", (8, 8, 8), (5, 5)),
        ("ConvTranspose2d", (4, 16, 16), (5, 5)),
    ]
    assert layers[0].parameters == 4 * 9
    assert layers[-1].shape == (2, 16, 16)


@pytest.mark.parametrize("name", ["stem_branch", "fcn8", "deeplab", "original"])
def test_every_kind_of_network_can_be_inspected(name: str) -> None:
    found = inspect(name)
    assert found.field.shape == (32, 32)
    assert found.costs.training_bytes > found.costs.inference_bytes
    assert len(found.layers) > 5


def test_swinunetr_is_inspected_without_arithmetic() -> None:
    found = inspect("swinunetr")
    assert found.theoretical is None
    assert all(layer.field == () for layer in found.layers)


def test_advice_names_kernel_and_patch() -> None:
    advice = " | ".join(advise(inspect("kernel3", (30, 32))))
    assert "variance 0.235 (relative): use 4 or 2" in advice
    assert "patches of (30, 32) are padded to (32, 32)" in advice


def test_three_dimensional_networks_too() -> None:
    found = inspect("unet", (16, 16, 16))
    assert found.theoretical is not None
    assert found.layers[0].field == (3, 3, 3)
