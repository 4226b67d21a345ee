"""Folding happens by itself whenever a network predicts."""

import numpy as np
import pytest
import torch
from torch import nn

from medseg.inference.predictor import Predictor
from medseg.inference.settings import InferenceSettings
from medseg.labels import LabelScheme
from medseg.networks.build import build_network
from medseg.networks.settings import UNetSettings
from medseg.plan import ChannelPlan, Plan

NETWORK = UNetSettings(channels=(4, 8), strides=(1, 2), normalization="batch")


def make_predictor(dims: int) -> Predictor:
    plan = Plan(
        name="phantom",
        spatial_dims=dims,
        target_spacing=(1.0, 1.0, 1.0),
        channels=(ChannelPlan(name="MR"),),
        labels=LabelScheme(names={"ball": 1}),
        patch_size=(16,) * dims,
        batch_size=1,
        network=NETWORK,
    )
    torch.manual_seed(0)
    network = build_network(NETWORK, spatial_dims=dims, in_channels=1, out_channels=2)
    network(torch.randn(4, 1, *(16,) * dims))  # moves the running statistics
    device = torch.device("cpu")
    return Predictor(network.eval(), plan, device, InferenceSettings(overlap=0.0))


@pytest.mark.parametrize("dims", [2, 3])
def test_predicting_runs_the_folded_network(dims: int) -> None:
    predictor = make_predictor(dims)
    image = np.random.default_rng(0).normal(size=(1, 16, 16, 16)).astype(np.float32)
    kinds = (nn.BatchNorm2d, nn.BatchNorm3d)
    assert not any(isinstance(m, kinds) for m in predictor.folded.modules())
    assert any(isinstance(m, kinds) for m in predictor.network.modules())
    batch = (
        torch.from_numpy(image)[None]
        if dims == 3
        else torch.from_numpy(image[:, 0])[None]
    )
    with torch.no_grad():
        expected = predictor.network(batch)
    found = predictor.folded(batch)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    predictor.network.register_forward_pre_hook(lambda *_: pytest.fail("as trained"))
    assert predictor.logits(image).shape == (2, 16, 16, 16)
