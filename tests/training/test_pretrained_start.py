"""A run starts from the encoder weights that its settings name."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from medseg.errors import MissingFileError
from medseg.labels import LabelScheme
from medseg.networks.settings import FCNSettings
from medseg.plan import ChannelPlan, Plan
from medseg.training.settings import TrainingSettings
from medseg.training.state import fresh_state

CPU = torch.device("cpu")
COUNTS = (2, 2, 3, 3, 3)


def vgg_file(path: Path) -> Path:
    """Thirteen convolutions of width 4, as torchvision numbers them."""
    tensors, number, inputs = {}, 0, 3
    for count in COUNTS:
        for _ in range(count):
            tensors[f"features.{number}.weight"] = torch.randn(4, inputs, 3, 3)
            tensors[f"features.{number}.bias"] = torch.randn(4)
            number, inputs = number + 2, 4
        number += 1
    save_file(tensors, path)
    return path


def plan(weights: Path) -> Plan:
    network = FCNSettings(
        channels=(4,) * 5,
        head_channels=4,
        normalization="none",
        encoder_weights=weights,
    )
    return Plan(
        name="phantom",
        spatial_dims=3,
        target_spacing=(1.0, 1.0, 1.0),
        channels=(ChannelPlan(name="MR"),),
        labels=LabelScheme(names={"ball": 1}),
        patch_size=(32, 32, 32),
        batch_size=1,
        network=network,
    )


def test_network_and_its_average_start_from_the_file(tmp_path: Path) -> None:
    path = vgg_file(tmp_path / "vgg.safetensors")
    state = fresh_state(plan(path), TrainingSettings(steps=1), CPU)
    biases = [
        network.core.blocks[0][0].conv.bias.detach()
        for network in (state.network, state.validated_network)
    ]
    expected = load_file(path)["features.0.bias"]
    for bias in biases:
        torch.testing.assert_close(bias, expected)


def test_missing_file_is_named_before_training(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"vgg\.pth: no such file"):
        fresh_state(plan(tmp_path / "vgg.pth"), TrainingSettings(steps=1), CPU)
