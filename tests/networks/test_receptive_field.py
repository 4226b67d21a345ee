"""Receptive fields: arithmetic equals gradient on every network, 2D and 3D."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from network_zoo import NETWORKS, build
from torch import nn

from medseg.networks.analysis.effective_field import (
    effective_field,
    half_widths_holding,
    radii_holding,
)
from medseg.networks.analysis.reach import Reach, input_reach, walk
from medseg.networks.analysis.reach import _convolution as convolution_reach
from medseg.networks.analysis.reach import _transposed as transposed_reach
from medseg.networks.analysis.receptive_field import (
    full_resolution_output,
    reach_by_gradient,
    receptive_field,
    trace,
)
from medseg.networks.build import build_network
from medseg.networks.core import effective_kernel
from medseg.networks.network import SegmentationNetwork
from medseg.networks.presets import original_unet, residual_unet
from medseg.networks.settings import DeepLabSettings, UNetSettings


def reach_of_output(network: SegmentationNetwork, size: Sequence[int]) -> list[Reach]:
    """For an input size, the input voxels that each output voxel depends on."""
    graph = trace(network)
    assert graph is not None
    output = full_resolution_output(graph.graph)
    return [walk(graph, n, axis)[output] for axis, n in enumerate(size)]


TRACEABLE = [name for name in NETWORKS if name != "swinunetr"]


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", TRACEABLE)
def test_arithmetic_equals_gradient(name: str, dims: int) -> None:
    network = build(NETWORKS[name], dims)
    size = network.core.input_size((28, 30, 20)[:dims])
    reaches = reach_of_output(network, size)
    middle = [reach.size // 2 for reach in reaches]
    for position in (middle, [0] * dims, [n + 1 for n in middle]):
        found = reach_by_gradient(network, size, position)
        expected = [
            (reach.first[voxel], reach.last[voxel])
            for reach, voxel in zip(reaches, position, strict=True)
        ]
        assert found == expected


def test_swinunetr_has_no_arithmetic() -> None:
    assert receptive_field(build(NETWORKS["swinunetr"])) is None


def test_receptive_field_of_a_small_unet_by_hand() -> None:
    """Both convolutions of each stage are 3 wide, and the second stage strides by 2.

    Coarse voxels see 3, 5 (fine), then 7 (stride 2) and 11 (distance 2) voxels; one
    more fine convolution reaches two coarse voxels, 2 apart: 13.
    """
    network = build(UNetSettings(channels=(2, 2), strides=(1, 2), decoder_convs=1))
    field = receptive_field(network)
    assert field is not None
    assert field.extent == (13, 13)


def test_original_unet_sees_its_margin_on_both_sides() -> None:
    network = build(original_unet(stages=3, width=2))
    field = receptive_field(network)
    assert field is not None
    assert field.radius[0] is not None
    assert field.radius[0] >= network.output_margin[0]


def test_image_pooling_sees_everything() -> None:
    field = receptive_field(build(DeepLabSettings(channels=(8, 8, 8), aspp_channels=8)))
    assert field is not None
    assert field.extent == (None, None)


@pytest.mark.parametrize("rates", [(2,), (2, 5), (2, 5, 9)])
def test_widest_branch_is_the_pyramids_field(rates: tuple[int, ...]) -> None:
    pyramid = DeepLabSettings(
        channels=(4, 4, 4), aspp_channels=4, rates=rates, image_pooling=False
    )
    alone = pyramid.model_copy(update={"rates": rates[-1:]})
    fields = [receptive_field(build(s)) for s in (pyramid, alone)]
    assert fields[0] == fields[1]


def test_nnunet_preset_sees_more_than_its_usual_patch() -> None:
    with torch.device("meta"):
        network = build_network(
            residual_unet((1, 2, 2, 2, 2, 2)),
            spatial_dims=3,
            in_channels=1,
            out_channels=2,
        )
    field = receptive_field(network)
    assert field is not None
    assert field.extent[0] is not None
    assert field.extent[0] > 128


@given(
    size=st.integers(6, 20),
    kernel=st.integers(1, 5),
    stride=st.integers(1, 3),
    padding=st.integers(0, 2),
    dilation=st.integers(1, 2),
)
@settings(max_examples=40)
def test_any_convolution_reaches_what_its_gradient_reaches(
    size: int, kernel: int, stride: int, padding: int, dilation: int
) -> None:
    if effective_kernel(kernel, dilation) > size + 2 * padding:
        return
    layer = nn.Conv2d(1, 1, (kernel, 1), (stride, 1), (padding, 0), (dilation, 1))
    assert_same(layer, convolution_reach(layer, input_reach(size), 0), size)


@given(
    size=st.integers(2, 8), kernel=st.integers(1, 6), stride=st.integers(1, 3),
    padding=st.integers(0, 2), output_padding=st.integers(0, 2),
)  # fmt: skip
@settings(max_examples=40)
def test_any_transposed_convolution_reaches_what_its_gradient_reaches(
    size: int, kernel: int, stride: int, padding: int, output_padding: int
) -> None:
    if output_padding >= stride or stride * (size - 1) + kernel <= 2 * padding:
        return
    layer = nn.ConvTranspose2d(
        1, 1, (kernel, 1), (stride, 1), (padding, 0), (output_padding, 0)
    )
    assert_same(layer, transposed_reach(layer, input_reach(size), 0), size)


def assert_same(layer: nn.Module, reach: Reach, size: int) -> None:
    nn.init.ones_(layer.weight)
    x = torch.zeros(1, 1, size, 1, requires_grad=True)
    out = layer(x).flatten()
    assert len(out) == reach.size
    for voxel in range(reach.size):
        (gradient,) = torch.autograd.grad(out[voxel], x, retain_graph=True)
        (hit,) = np.nonzero(gradient.flatten().numpy())
        if len(hit):
            assert (hit[0], hit[-1]) == (reach.first[voxel], reach.last[voxel])
        else:
            assert reach.extent[voxel] == 0


def test_effective_field_is_smaller_than_the_theoretical() -> None:
    """A stack of n convolutions sees 2n + 1 voxels and looks at about √n of them."""
    settings = UNetSettings(channels=(4, 4), strides=(1, 1), convs_per_stage=8)
    network = build(settings.model_copy(update={"normalization": "none"}))
    theory = receptive_field(network)
    half, most, nearly_all = radii_holding(effective_field(network, (64, 64)))
    assert theory is not None
    assert theory.radius == (18, 18)
    assert half < most < nearly_all < 18


def test_effective_field_sums_to_one_and_fades_from_its_centre() -> None:
    field = effective_field(build(NETWORKS["unet"], 3), (16, 16, 16), num_samples=2)
    assert field.sum() == pytest.approx(1)
    assert field[8, 8, 8] > field[0, 0, 0]


def test_radius_of_a_known_field() -> None:
    field = np.zeros((9, 9))
    field[4, 4], field[4, 7], field[0, 4] = 0.5, 0.4, 0.1
    assert radii_holding(field, (0.5, 0.9, 0.99)) == (0.0, 3.0, 4.0)
    assert radii_holding(field, (0.9,), spacing=(1.0, 2.0)) == (6.0,)
    assert half_widths_holding(field, 0.99) == (4, 3)
