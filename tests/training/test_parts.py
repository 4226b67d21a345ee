"""Parts of a network: found by name, trained at their own rate, frozen for a while."""

from pathlib import Path

import pytest
import torch
from network_zoo import NETWORKS
from small_runs import CPU, Interrupted, run, small_plan

from medseg.errors import SettingsError
from medseg.networks.build import build_network
from medseg.networks.settings import PluginNetworkSettings, UNetSettings
from medseg.store import Store
from medseg.training.checkpoint import CHECKPOINT
from medseg.training.length import StepLength
from medseg.training.parts import FrozenEncoder, parts_of
from medseg.training.settings import InitSettings, TrainingSettings
from medseg.training.state import build_optimizer, fresh_state

NETWORK = UNetSettings(channels=(4, 8), strides=(1, 2), normalization="batch")


@pytest.mark.parametrize(
    "name", ["unet", "stem_branch", "fcn8", "deeplab", "segresnet", "swinunetr"]
)
def test_every_network_has_all_three_parts(name: str) -> None:
    network = build_network(
        NETWORKS[name], spatial_dims=2, in_channels=1, out_channels=3
    )
    parts = parts_of(network, NETWORKS[name], InitSettings(model="m"))
    assert set(parts.values()) == {"encoder", "decoder", "head"}
    assert set(parts) == {name for name, _ in network.named_parameters()}


def test_of_a_network_by_path_the_encoder_must_be_said() -> None:
    settings = PluginNetworkSettings(
        name="monai.networks.nets:BasicUNet", args={"features": [4] * 6}, multiple_of=16
    )
    network = build_network(settings, spatial_dims=2, in_channels=1, out_channels=2)
    frozen = InitSettings(model="m", freeze_encoder=0.5)
    with pytest.raises(SettingsError, match=r"init\.encoder what .*body\.conv_0"):
        parts_of(network, settings, frozen)
    parts = parts_of(network, settings, InitSettings(model="m", learning_rate_head=2))
    assert set(parts.values()) == {"decoder", "head"}
    init = InitSettings(model="m", encoder=("conv_0.", "down_"))
    parts = parts_of(network, settings, init)
    encoder = {name.split(".")[2] for name, part in parts.items() if part == "encoder"}
    assert encoder == {"conv_0", "down_1", "down_2", "down_3", "down_4"}


def test_each_part_learns_at_its_own_rate(tiny_store: Store, tmp_path: Path) -> None:
    init = InitSettings(model="m", learning_rate_encoder=0.25, learning_rate_head=4.0)
    settings = TrainingSettings(precision="float32", init=init)
    run(tiny_store, tmp_path, StepLength(2), settings=settings, network=NETWORK)
    values = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    groups = values["optimizer"]["param_groups"]
    assert {group["rate"] for group in groups} == {0.25, 1.0, 4.0}
    shares = {group["lr"] / group["rate"] for group in groups}
    assert max(shares) == pytest.approx(min(shares))
    network = fresh_state(
        small_plan(tiny_store, dims=3, network=NETWORK), settings, CPU
    ).network
    assert sum(len(group["params"]) for group in groups) == len(
        list(network.parameters())
    )


def test_without_rates_groups_are_as_they_were() -> None:
    """So that checkpoints of earlier versions go on."""
    network = build_network(NETWORK, spatial_dims=2, in_channels=1, out_channels=2)
    groups = build_optimizer(network, TrainingSettings().optimizer).param_groups
    kernels = [p for p in network.parameters() if p.ndim > 1]
    assert [len(g["params"]) for g in groups] == [
        len(kernels),
        len(list(network.parameters())) - len(kernels),
    ]
    assert all("rate" not in group for group in groups)


def encoder_of(network: torch.nn.Module) -> torch.Tensor:
    state = network.state_dict()
    kept = [t.flatten() for n, t in state.items() if n.startswith("core.encoder.")]
    return torch.cat(kept)


def test_a_frozen_encoder_stays_and_then_moves(
    tiny_store: Store, tmp_path: Path
) -> None:
    """Its statistics of batch normalization too; a resumed run knows where it is."""
    init = InitSettings(model="m", freeze_encoder=0.5)
    settings = TrainingSettings(precision="float32", init=init, ema_decay=0.0)
    plan = small_plan(tiny_store, dims=3, network=NETWORK)
    fresh = fresh_state(plan, settings, CPU).network
    kinds = {"settings": settings, "network": NETWORK}
    folder = tmp_path / "run"
    half = run(tiny_store, folder, Interrupted(6, stop_after=3), **kinds)
    assert torch.equal(encoder_of(half.network), encoder_of(fresh))
    heads = "core.heads.0.weight"
    assert not torch.equal(half.network.state_dict()[heads], fresh.state_dict()[heads])
    resumed = run(tiny_store, folder, StepLength(6), resume=True, **kinds)
    assert not torch.equal(encoder_of(resumed.network), encoder_of(fresh))
    whole = run(tiny_store, tmp_path / "whole", StepLength(6), **kinds)
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(tensor, resumed.network.state_dict()[name]), name


def test_training_goes_on_as_training_after_a_validation(
    tiny_store: Store, tmp_path: Path
) -> None:
    """Without averaged weights the network that is validated is the one that learns."""
    settings = TrainingSettings(precision="float32", ema_decay=0.0)
    done = run(tiny_store, tmp_path, StepLength(6), settings=settings, network=NETWORK)
    counts = {
        int(value)
        for name, value in done.network.state_dict().items()
        if name.endswith("num_batches_tracked")
    }
    assert counts == {6}


def test_gradients_are_shared_anew_when_the_encoder_is_let_go() -> None:
    network = build_network(NETWORK, spatial_dims=2, in_channels=1, out_channels=2)
    parts = parts_of(network, NETWORK, InitSettings(model="m"))
    calls: list[bool] = []
    first = next(network.parameters())
    frozen = FrozenEncoder(
        network, parts, share=0.5, changed=lambda: calls.append(first.requires_grad)
    )
    for done in (0.0, 0.2, 0.5, 0.9):
        frozen.follow(done)
    assert calls == [False, True]
