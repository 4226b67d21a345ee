"""Tiles with halos give the logits of the whole volume."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_networks import UNET

from medseg.inference.exact_tiling import (
    ExactAxis,
    computed_voxels,
    exact_axes,
    exact_tiling,
)
from medseg.inference.streaming import stream_rows
from medseg.networks.build import build_network
from medseg.networks.folding import fold
from medseg.networks.network import SegmentationNetwork
from medseg.networks.settings import FCNSettings, NetworkSettings

UNPADDED = UNET.model_copy(
    update={"padding": "valid", "downsampling": "maxpool", "convs_per_stage": 1}
)
NETWORKS: dict[str, NetworkSettings] = {
    "strided": UNET,
    "pooled": UNET.model_copy(update={"downsampling": "maxpool"}),
    "interpolating": UNET.model_copy(update={"upsampling": "interpolate"}),
    "residual": UNET.model_copy(update={"block": "residual"}),
    "stem": UNET.model_copy(update={"strides": (2, 2, 2)}),
    "unpadded": UNPADDED,
    "fcn8": FCNSettings(
        channels=(2, 3, 4, 4, 4),
        convs_per_block=(1, 1, 1, 1, 1),
        head_channels=4,
        head_kernel=1,
    ),
}


def network_of(settings: NetworkSettings, dims: int) -> SegmentationNetwork:
    torch.manual_seed(0)
    network = build_network(settings, spatial_dims=dims, in_channels=1, out_channels=2)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d | torch.nn.BatchNorm3d):
            torch.nn.init.uniform_(module.running_mean, -0.2, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    return fold(network)


def check(
    network: SegmentationNetwork, shape: list[int], extra: list[int], axis: int = 0
) -> int:
    """Compares; returns the number of tiles."""
    axes = exact_axes(network)
    assert not isinstance(axes, str), axes
    window = [
        (one.stem + 8 if one.margin else 2 * one.halo + one.divisor) + more
        for one, more in zip(axes, extra, strict=True)
    ]
    tiling = exact_tiling(shape, axes, window=window, axis=axis)
    assert tiling is not None
    image = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))
    valid = any(one.margin for one in axes)
    predict = network.forward_centre if valid else network
    with torch.no_grad():
        rows = [part.logits() for part in stream_rows(predict, image, tiling)]
        whole = network(image.unsqueeze(0))[0]
    assert torch.allclose(torch.cat(rows, dim=axis + 1), whole, atol=1e-4, rtol=1e-4)
    return len(tiling.tiles)


@pytest.mark.parametrize("name", NETWORKS)
@settings(max_examples=5)
@given(
    shape=st.lists(st.integers(5, 90), min_size=2, max_size=2),
    extra=st.lists(st.integers(0, 30), min_size=2, max_size=2),
    axis=st.integers(0, 1),
)
def test_tiles_in_2d_give_the_whole(
    name: str, shape: list[int], extra: list[int], axis: int
) -> None:
    check(network_of(NETWORKS[name], 2), shape, extra, axis)


@pytest.mark.parametrize("name", ["strided", "interpolating", "unpadded"])
@settings(max_examples=3)
@given(
    shape=st.lists(st.integers(5, 48), min_size=3, max_size=3),
    extra=st.lists(st.integers(0, 8), min_size=3, max_size=3),
    axis=st.integers(0, 2),
)
def test_tiles_in_3d_give_the_whole(
    name: str, shape: list[int], extra: list[int], axis: int
) -> None:
    settings_ = NETWORKS[name].model_copy(
        update={"channels": (3, 4), "strides": (1, 2)}
    )
    check(network_of(settings_, 3), shape, extra, axis)


def test_fcn_8s_in_3d() -> None:
    network = network_of(NETWORKS["fcn8"], 3)
    assert check(network, [330, 20, 17], [0, 0, 0]) > 1


def test_a_long_image_needs_several_tiles_that_overlap_by_the_halo() -> None:
    axis = ExactAxis(divisor=4, halo=8)
    tiling = exact_tiling((50,), [axis], window=(24,))
    assert tiling is not None
    assert [tile.source[0].start for tile in tiling.tiles] == [0, 8, 16, 20, 28]
    assert [tile.target[0].stop for tile in tiling.tiles] == [16, 24, 28, 36, 50]
    assert computed_voxels(tiling) == 5 * 24
    assert exact_tiling((50,), [axis], window=(16,)) is None


def test_networks_that_see_whole_windows_are_refused_with_the_reason() -> None:
    network = build_network(
        UNET.model_copy(update={"normalization": "instance"}),
        spatial_dims=2,
        in_channels=1,
        out_channels=2,
    )
    assert exact_axes(network) == "the network normalizes over each window"
    assert exact_axes(torch.nn.Conv2d(1, 1, 3)) == "the network is not one of ours"


def test_a_halo_too_small_is_not_exact() -> None:
    network = network_of(UNET, 2)
    axes = exact_axes(network)
    assert not isinstance(axes, str)
    short = [replace(one, halo=one.halo - 2 * one.divisor) for one in axes]
    tiling = exact_tiling((96, 96), short, window=(64, 64))
    assert tiling is not None
    image = torch.randn(1, 96, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        rows = [part.logits() for part in stream_rows(network, image, tiling)]
        whole = network(image.unsqueeze(0))[0]
    assert not torch.allclose(torch.cat(rows, dim=1), whole, atol=1e-4)
