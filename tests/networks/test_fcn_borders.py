"""Scores of a fresh FCN are interpolated up to the last voxel; old weights as ever."""

import copy

import pytest
import torch
from network_zoo import build
from torch import nn

from medseg.networks.analysis.receptive_field import receptive_field
from medseg.networks.fcn import bilinear_upsampling, initialize_bilinear
from medseg.networks.folding import fold
from medseg.networks.settings import FCNSettings

LINEAR = {2: "bilinear", 3: "trilinear"}
SMALL = {"channels": (4, 4, 4, 4, 4), "head_channels": 4, "normalization": "none"}


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("factor", [2, 8, 16, 32])
def test_the_start_is_linear_interpolation_everywhere(dims: int, factor: int) -> None:
    up = bilinear_upsampling(2, factor=factor, spatial_dims=dims)
    initialize_bilinear(nn.ModuleList([up]))
    x = torch.randn(1, 2, *(3, 4, 2)[:dims])
    expected = nn.functional.interpolate(
        x, scale_factor=float(factor), mode=LINEAR[dims], align_corners=False
    )
    torch.testing.assert_close(up(x), expected)


@pytest.mark.parametrize("variant", [32, 16, 8])
def test_constant_scores_stay_constant_in_the_corners(variant: int) -> None:
    network = build(FCNSettings(variant=variant, **SMALL)).eval()
    for layer in (network.core.score, *network.core.skip_scores):
        nn.init.zeros_(layer.weight)
        nn.init.ones_(layer.bias)
    with torch.no_grad():
        logits = network(torch.randn(1, 1, 96, 64))
    expected = {32: 1.0, 16: 2.0, 8: 3.0}[variant]
    torch.testing.assert_close(logits, torch.full_like(logits, expected))


def test_weights_saved_before_are_computed_as_before() -> None:
    torch.manual_seed(0)
    network = build(FCNSettings(**SMALL)).eval()
    state = network.state_dict()
    old = {k: v for k, v in state.items() if not k.endswith("even_borders")}
    assert len(state) - len(old) == 3
    loaded = build(FCNSettings(**SMALL)).eval()
    loaded.load_state_dict(old)
    scores = torch.randn(1, 2, 3, 3)
    plain = nn.ConvTranspose2d(2, 2, 16, stride=8, padding=4, bias=False)
    plain.load_state_dict({"weight": state["core.finish.weight"]})
    torch.testing.assert_close(loaded.core.finish(scores), plain(scores))
    again = build(FCNSettings(**SMALL)).eval()  # saved by now, and loaded once more
    again.load_state_dict(loaded.state_dict())
    torch.testing.assert_close(again.core.finish(scores), plain(scores))


def test_new_weights_keep_their_borders_through_copies_and_folding() -> None:
    torch.manual_seed(0)
    network = build(FCNSettings(**SMALL)).eval()
    loaded = build(FCNSettings(**SMALL)).eval()
    loaded.load_state_dict(network.state_dict())
    image = torch.randn(1, 1, 64, 64)
    with torch.no_grad():
        expected = network(image)
        for other in (loaded, fold(network), copy.deepcopy(network)):
            torch.testing.assert_close(other(image), expected, atol=1e-5, rtol=1e-4)


def test_the_receptive_field_by_arithmetic_holds_for_gradients_at_a_border() -> None:
    network = build(FCNSettings(**SMALL, convs_per_block=(1, 1, 1, 1, 1))).eval()
    extent = receptive_field(network).extent[0]
    image = torch.randn(1, 1, 256, 256, requires_grad=True)
    network(image)[0, 0, 0, 0].backward()
    seen = image.grad.abs().sum((0, 1, 3)).nonzero()
    assert int(seen.max()) < extent
