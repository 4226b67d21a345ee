"""Networks of MONAI by path: trained for some steps, 2D and 3D; sizes, export, memory.

The table of docs/plugins.md is made here: ``MEDSEG_TABLE=FILE pytest -m ''`` writes it.
"""

import os
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medseg.conversion.export import export
from medseg.errors import MedsegError
from medseg.labels import LabelScheme
from medseg.losses.settings import DiceCESettings
from medseg.model import Provenance, load_model, save_model
from medseg.networks.analysis.costs import count_parameters, predict_memory
from medseg.networks.build import build_network
from medseg.networks.plugin_network import settled
from medseg.networks.settings import PluginNetworkSettings
from medseg.plan import ChannelPlan, Plan
from medseg.training.settings import TrainingSettings
from medseg.training.state import build_optimizer
from medseg.training.step import segmentation_loss

NETS: dict[str, dict[str, Any]] = {
    "UNet": {"channels": [4, 8, 16], "strides": [2, 2]},
    "DynUNet": {
        "kernel_size": [3, 3, 3],
        "strides": [1, 2, 2],
        "upsample_kernel_size": [2, 2],
        "filters": [4, 8, 16],
        "deep_supervision": True,
        "deep_supr_num": 1,
    },
    "SegResNet": {"init_filters": 8},
    "SegResNetDS": {"init_filters": 8, "blocks_down": [1, 1, 1], "dsdepth": 2},
    "BasicUNet": {"features": [4, 4, 8, 8, 16, 4]},
    "BasicUNetPlusPlus": {"features": [4, 4, 8, 8, 16, 4]},
    "AttentionUnet": {"channels": [4, 8, 16], "strides": [2, 2]},
    "VNet": {},
    "HighResNet": {},
    "UNETR": {
        "feature_size": 4,
        "hidden_size": 32,
        "mlp_dim": 64,
        "num_heads": 4,
        "norm_name": "instance",
    },
    "SwinUNETR": {"feature_size": 12},
    "FlexibleUNet": {
        "backbone": "efficientnet-b0",
        "decoder_channels": [32, 16, 8, 8, 4],
    },
    "MedNeXt": {
        "init_filters": 8,
        "blocks_down": [1, 1, 1, 1],
        "blocks_bottleneck": 1,
        "blocks_up": [1, 1, 1, 1],
    },
}
QUICK = ["UNet-2", "DynUNet-3", "UNETR-2"]
EVERY = [f"{name}-{dims}" for name in NETS for dims in (2, 3)]


def plan_for(name: str, dims: int) -> Plan:
    size = (64, 64) if dims == 2 else (32, 32, 32)
    network = PluginNetworkSettings(name=f"monai.networks.nets:{name}", args=NETS[name])
    sizes = {"spatial_dims": dims, "in_channels": 1, "out_channels": 3}
    return Plan(
        name="zoo",
        spatial_dims=dims,  # type: ignore[arg-type]
        target_spacing=(1.0, 1.0, 1.0),
        channels=(ChannelPlan(name="MR"),),
        labels=LabelScheme(names={"a": 1, "b": 2}),
        patch_size=size,
        batch_size=2,
        network=settled(network, **sizes, patch_size=size),
    )


def some_steps(plan: Plan, *, steps: int = 3) -> tuple[torch.nn.Module, list[float]]:
    """Losses of the first steps on one and the same batch."""
    torch.manual_seed(0)
    network = build_network(
        plan.network, spatial_dims=plan.spatial_dims, in_channels=1, out_channels=3
    ).train()
    settings = TrainingSettings(loss=DiceCESettings())
    loss = segmentation_loss(plan, settings)
    optimizer = build_optimizer(network, settings.optimizer)
    rng = np.random.default_rng(0)
    target = torch.from_numpy(
        rng.integers(0, 3, (2, *plan.patch_size)).astype(np.uint8)
    )
    image = target[:, None].float() + 0.1 * torch.randn((2, 1, *plan.patch_size))
    values = []
    for _ in range(steps):
        optimizer.zero_grad()
        value = loss(network(image), target)
        value.backward()
        optimizer.step()
        values.append(float(value.detach()))
    return network, values


def check(case: str, folder: Path) -> str:
    """Trains, saves, loads, exports; a row of the table."""
    name, _, dims = case.partition("-")
    plan = plan_for(name, int(dims))
    begin = time.process_time()
    network, values = some_steps(plan)
    seconds = (time.process_time() - begin) / len(values)
    assert all(np.isfinite(values)), values
    assert values[-1] < values[0], f"{case}: the loss rose: {values}"
    save_model(folder / "model", network, plan, Provenance())
    again = load_model(folder / "model")
    size = tuple(n + 3 for n in plan.patch_size)
    settings = plan.network
    assert isinstance(settings, PluginNetworkSettings)
    if settings.only_size is None:
        with torch.no_grad():
            answer = again.network(torch.zeros((1, 1, *size)))
        assert answer.shape == (1, 3, *size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            memory = f"{predict_memory(network, (1, 1, *plan.patch_size)) / 1e6:.1f}"
        except Exception as error:  # noqa: BLE001 - a row of a table
            memory = f"not foreseen: {type(error).__name__}"
        try:
            export(folder / "model", folder / "onnx", to="onnx")
            onnx = "yes"
        except (MedsegError, Exception) as error:  # noqa: BLE001 - likewise
            onnx = f"no: {' '.join(str(error).split())[:60]}"
    takes = (
        f"only {'×'.join(map(str, settings.only_size))}"
        if settings.only_size
        else f"multiples of {settings.divisor(int(dims))[0]} "
        f"from {settings.smallest_size[0]}"  # type: ignore[index]
    )
    return (
        f"| `{name}` | {dims}D | {count_parameters(network) / 1e6:.3f} | {takes} | "
        f"{values[0]:.3f} → {values[-1]:.3f} | {seconds:.2f} | {memory} | {onnx} |"
    )


@pytest.mark.parametrize("case", QUICK)
def test_some_of_them(case: str, tmp_path: Path) -> None:
    row = check(case, tmp_path)
    assert row.endswith("| yes |"), row


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in EVERY if case not in QUICK])
def test_all_the_others(case: str, tmp_path: Path) -> None:
    row = check(case, tmp_path)
    if (table := os.environ.get("MEDSEG_TABLE")) is not None:
        with Path(table).open("a", encoding="utf-8") as stream:
            stream.write(row + "\n")
