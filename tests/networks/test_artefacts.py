"""Checkerboards, shifts and folding: the theory against real layers."""

from collections.abc import Callable

import pytest
import torch
from network_zoo import NETWORKS, build
from torch import nn

from medseg.networks.analysis.checkerboard import (
    Coverage,
    coverage_variance,
    coverages,
    find_pattern,
)
from medseg.networks.analysis.shift import shift_consistency
from medseg.networks.fcn import bilinear_upsampling, initialize_bilinear
from medseg.networks.folding import fold, fold_normalization, fold_pointwise
from medseg.networks.settings import DeepLabSettings, FCNSettings, UNetSettings


@pytest.mark.parametrize("kernel", range(1, 9))
@pytest.mark.parametrize("stride", range(1, 5))
def test_coverage_variance_is_that_of_the_layer(kernel: int, stride: int) -> None:
    layer = nn.ConvTranspose2d(1, 1, kernel, stride, bias=False)
    nn.init.ones_(layer.weight)
    with torch.no_grad():
        out = layer(torch.ones(1, 1, 12, 12))[0, 0]
    start = 4 * stride
    period = out[start : start + stride, start : start + stride]
    measured = period.var(correction=0) / period.mean() ** 2
    expected = coverage_variance((kernel,) * 2, (stride,) * 2)
    assert float(measured) == pytest.approx(expected, abs=1e-5)
    assert (expected == 0) == (kernel % stride == 0)


def test_advice_names_better_kernels() -> None:
    coverage = Coverage("up", (3, 3), (2, 2), coverage_variance((3, 3), (2, 2)))
    assert coverage.advice == (
        "up: kernel 3, stride 2 leaves a pattern of variance 0.235 (relative): use "
        "4 or 2"
    )
    assert Coverage("up", (4,), (2,), 0.0).advice == ""


def test_every_upsampling_of_a_network_is_listed() -> None:
    odd = build(NETWORKS["kernel3"])
    assert [c.kernel for c in coverages(odd)] == [(3, 3)] * 2
    assert all(c.variance > 0 for c in coverages(odd))
    assert all(c.variance == 0 for c in coverages(build(NETWORKS["unet"])))


@pytest.mark.parametrize("normalization", ["none", "instance", "group", "batch"])
def test_interpolation_leaves_no_pattern_and_odd_kernels_do(normalization: str) -> None:
    def strength(**choice: object) -> float:
        settings = UNetSettings(
            channels=(8, 8), strides=(1, 2), normalization=normalization, **choice
        )
        return find_pattern(build(settings), size=(64, 64)).strength

    assert strength(upsampling="interpolate", decoder_convs=1) < 1e-4
    assert strength(upsampling_kernel=3) > 0.05


def test_a_constant_image_beyond_all_others_is_no_alarm() -> None:
    """Mean filters all but take noise away, and normalization brings it back: a
    constant is enlarged with it, layer by layer."""
    settings = UNetSettings(
        channels=(4, 4, 4, 4), strides=(1, 2, 2, 2), normalization="instance"
    )
    network = build(settings)
    assert not find_pattern(network, size=(64, 64)).is_beyond
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3):
                layer.weight.fill_(1 / layer.weight[0].numel())
    assert find_pattern(network, size=(64, 64)).is_beyond


def test_fresh_fcn_interpolates_its_scores() -> None:
    up = bilinear_upsampling(2, factor=8, spatial_dims=2)
    initialize_bilinear(nn.ModuleList([up]))
    x = torch.randn(1, 2, 6, 6)
    expected = nn.functional.interpolate(x, scale_factor=8.0, mode="bilinear")
    inside = slice(4, -4)
    torch.testing.assert_close(
        up(x)[..., inside, inside], expected[..., inside, inside]
    )


def test_network_without_global_pooling_shifts_with_its_input() -> None:
    def change(**choice: object) -> float:
        settings = DeepLabSettings(
            channels=(8, 8, 8), rates=(2, 3), aspp_channels=8, output_stride=4, **choice
        )
        network = build(settings)
        found = shift_consistency(network, (160, 160), shift=(8, 4), margin=(70, 70))
        return found.change

    assert change(image_pooling=False) < 1e-5
    assert change(image_pooling=True) > 1e-4


def test_shift_by_less_than_the_stride_changes_logits() -> None:
    network = build(NETWORKS["batch"])
    whole = shift_consistency(network, (96, 96), shift=(4, 4), margin=(40, 40))
    part = shift_consistency(network, (96, 96), shift=(1, 1), margin=(40, 40))
    assert whole.change < 1e-5
    assert whole.agreement == 1
    assert part.change > 1e-3
    with pytest.raises(ValueError, match="leave"):
        shift_consistency(network, (16, 16), shift=(1, 1), margin=(8, 8))


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", ["batch", "fcn8", "deeplab"])
def test_folded_network_gives_equal_outputs(name: str, dims: int) -> None:
    network = build(NETWORKS[name], dims)
    x = torch.randn(2, 1, *(32,) * dims)
    for _ in range(3):
        network(x * 2 + 1)  # move the running statistics
    network.eval()
    folded = fold(network)
    assert not any(
        isinstance(m, nn.BatchNorm2d | nn.BatchNorm3d) for m in folded.modules()
    )
    with torch.no_grad():
        torch.testing.assert_close(folded(x), network(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "first",
    [
        lambda: nn.Conv2d(3, 4, 3),
        lambda: nn.Conv2d(3, 4, 1, bias=False),
        lambda: nn.ConvTranspose2d(3, 4, 2, stride=2),
    ],
)
def test_linear_stack_folds_into_one_layer(first: Callable[[], nn.Module]) -> None:
    stack = nn.Sequential(
        first(), nn.BatchNorm2d(4), nn.Conv2d(4, 5, 1), nn.Conv2d(5, 2, 1), nn.ReLU()
    )
    stack[1].running_mean.normal_()
    folded = fold(stack)
    x = torch.randn(1, 3, 6, 6)
    assert len(folded) == 2
    torch.testing.assert_close(folded(x), stack.eval()(x), atol=1e-5, rtol=1e-5)


def test_non_linearity_keeps_layers_apart() -> None:
    stack = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1))
    assert len(fold(stack)) == 3


def test_folding_keeps_bias_free_layers_bias_free() -> None:
    first, second = nn.Conv3d(1, 2, 3, bias=False), nn.Conv3d(2, 2, 1, bias=False)
    assert fold_pointwise(first, second).bias is None
    folded = fold_normalization(first.eval(), nn.BatchNorm3d(2).eval())
    assert folded.bias is not None


def test_fcn_folds_only_what_is_linear() -> None:
    settings = FCNSettings(channels=(8,) * 5, head_channels=8, normalization="instance")
    network = build(settings)
    assert len(list(fold(network).modules())) == len(list(network.modules()))
