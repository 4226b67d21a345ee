"""Rows of `inspect` against values that were fixed beforehand or computed otherwise."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from network_zoo import build

from medseg.errors import SettingsError
from medseg.networks.analysis.checkerboard import Coverage, coverage_variance
from medseg.networks.analysis.effective_field import effective_field, share_beyond
from medseg.networks.analysis.fixed_statistics import with_fixed_statistics
from medseg.networks.analysis.layers import list_layers
from medseg.networks.analysis.receptive_field import receptive_field
from medseg.networks.analysis.shift import ShiftFinding, usual_shifts
from medseg.networks.network import SegmentationNetwork
from medseg.networks.presets import original_unet
from medseg.networks.settings import DeepLabSettings, FCNSettings, UNetSettings
from medseg.studies.inspect import inspect

THIN = {"channels": (2, 2, 2, 2, 2), "head_channels": 2}


def shifts_of(
    network: SegmentationNetwork, size: tuple[int, ...], *, cost: float
) -> tuple[ShiftFinding, ...]:
    field = receptive_field(network)
    assert field is not None
    return usual_shifts(network, size, radius=field.radius, flops_per_voxel=cost)


@pytest.mark.parametrize(
    "settings",
    [
        FCNSettings(**THIN, normalization="none", convs_per_block=(1, 1, 1, 1, 1)),
        UNetSettings(channels=(4, 8, 8), strides=(1, 2, 2)),
        UNetSettings(channels=(4, 8), strides=(1, 2), normalization="batch"),
    ],
)
def test_a_shift_by_a_stride_changes_nothing_in_theory(settings) -> None:
    one, stride = shifts_of(build(settings).eval(), (64, 64), cost=1.0)
    assert stride.theory is not None
    assert stride.theory.change < 1e-4
    assert stride.theory.agreement == 1
    assert one.theory is not None
    assert one.theory.change > 1e-3


def test_what_borders_spoil_is_not_given_as_theory() -> None:
    settings = FCNSettings(**THIN, head_kernel=7, normalization="none")
    network = build(settings).eval()
    radius = receptive_field(network).radius[0]
    one, stride = shifts_of(network, (224, 224), cost=1e9)  # as VGG's widths would
    assert one.theory is None
    assert stride.theory is None
    assert stride.needed == (2 * radius + 64, 2 * radius + 64)
    assert stride.real is not None


def test_shifts_in_3d_are_whole_strides() -> None:
    settings = FCNSettings(**THIN, normalization="none", convs_per_block=(1,) * 5)
    network = build(settings, 3).eval()
    _, stride = shifts_of(network, (64, 64, 64), cost=1e6)
    assert stride.shift == (32, 32, 32)
    assert stride.theory is None
    assert stride.real is not None
    _, small = shifts_of(network, (48, 48, 48), cost=1e6)
    assert small.real is None


def test_an_endless_field_is_said_to_be_one() -> None:
    network = build(DeepLabSettings(channels=(4, 4, 4), aspp_channels=4)).eval()
    one, _ = usual_shifts(network, (32, 32), radius=(None, None), flops_per_voxel=1.0)
    assert one.needed is None
    assert one.theory is None


@pytest.mark.parametrize("normalization", ["instance", "group", "none"])
def test_two_patches_are_answered_as_a_call_answers_them(normalization: str) -> None:
    settings = UNetSettings(
        channels=(8, 16), strides=(1, 2), normalization=normalization
    )
    network = build(settings).eval()
    one, _ = shifts_of(network, (40, 40), cost=1.0)
    scene = torch.randn((1, 1, 41, 41), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        first, second = network(scene[..., :40, :40]), network(scene[..., 1:, 1:])
    margin = (40 - 1) // 4
    kept = 40 - 1 - 2 * margin
    a = first[..., margin + 1 : margin + 1 + kept, margin + 1 : margin + 1 + kept]
    b = second[..., margin : margin + kept, margin : margin + kept]
    change = float(((a - b) ** 2).mean().sqrt() / a.std())
    assert one.real is not None
    assert one.real.change == pytest.approx(change, rel=1e-4)


def test_statistics_see_beyond_the_receptive_field_and_are_counted() -> None:
    network = build(UNetSettings(channels=(8, 16, 32), strides=(1, 2, 2))).eval()
    radius = receptive_field(network).radius
    field = effective_field(network, (64, 64))
    assert share_beyond(field, radius) == pytest.approx(0.14, abs=0.04)
    noise = torch.randn((1, 1, 64, 64), generator=torch.Generator().manual_seed(0))
    held = effective_field(with_fixed_statistics(network, noise), (64, 64))
    assert share_beyond(held, radius) < 1e-6


def test_share_beyond_counts_voxels_outside_a_box() -> None:
    field = np.full((5, 4), 1 / 20)
    assert share_beyond(field, (1, None)) == pytest.approx(2 / 5)
    assert share_beyond(field, (None, 1)) == pytest.approx(1 / 4)
    assert share_beyond(field, (2, 2)) == 0


def test_a_shrinking_input_is_read_off_the_layers() -> None:
    layers = list_layers(build(original_unet(stages=4, width=2)), (260, 260))
    sizes = [layer.shape[1] for layer in layers if "Conv2d" in layer.kind]
    down = [258, 256, 126, 124, 60, 58, 27, 25]
    up = [48, 46, 90, 88, 174, 172, 172]
    assert [s for s in sizes if s] == [*down, *up]
    crops = [layer.shape[1] for layer in layers if layer.kind == "CentreCrop"]
    assert crops == [50, 92, 176]
    joined = [layer.shape for layer in layers if layer.kind == "cat"]
    assert joined == [(16, 50, 50), (8, 92, 92), (4, 176, 176)]


def test_concatenations_and_dilations_of_deeplab_are_shown() -> None:
    settings = DeepLabSettings(
        channels=(4, 4, 8), rates=(2, 3), aspp_channels=4, skip_channels=2
    )
    layers = list_layers(build(settings), (32, 32))
    joined = {layer.name: layer.shape[0] for layer in layers if layer.kind == "cat"}
    assert joined == {"aspp.concatenation": 16, "concatenation": 6}
    assert {layer.dilation for layer in layers if layer.name.startswith("aspp")} >= {
        (2, 2),
        (3, 3),
    }


@pytest.mark.parametrize(
    ("kernel", "stride", "relative", "absolute"),
    [
        ((3, 3), (2, 2), 0.2346, 1.1875),
        ((3,), (2,), 0.1111, 0.25),
        ((4, 4), (2, 2), 0, 0),
    ],
)
def test_coverage_is_given_relative_and_absolute(
    kernel: tuple, stride: tuple, relative: float, absolute: float
) -> None:
    found = Coverage("up", kernel, stride, coverage_variance(kernel, stride))
    assert found.variance == pytest.approx(relative, abs=1e-4)
    assert found.absolute == pytest.approx(absolute)


def write_config(folder: Path, stages: int) -> Path:
    network = original_unet(stages=stages, width=2).model_dump(mode="json")
    path = folder / "unpadded.yaml"
    plan = {"patch_size": [260, 260], "network": network}
    path.write_text(yaml.safe_dump({"plan": plan}), encoding="utf-8")
    return path


@pytest.mark.parametrize(("stages", "below"), [(3, 256), (4, 252)])
def test_sizes_that_an_unpadded_network_cannot_take_are_refused(
    tmp_path: Path, stages: int, below: int
) -> None:
    config = write_config(tmp_path, stages)
    with pytest.raises(SettingsError, match=f"use {below} or 260"):
        inspect(config, overrides=["plan.patch_size=[259, 260]"])


def test_channels_and_classes_need_no_data(tmp_path: Path) -> None:
    found = inspect(write_config(tmp_path, 4), channels=3, classes=5)
    assert found.output_size == (172, 172)
    assert found.layers[0].parameters == 2 * 3 * 9 + 2
    assert found.layers[-1].shape == (5, 172, 172)


def test_a_presence_head_is_the_last_layer() -> None:
    settings = UNetSettings(channels=(4, 8), strides=(1, 2), presence_head=True)
    network = build(settings, outputs=3)
    last = list_layers(network, (16, 16))[-1]
    assert (last.name, last.kind, last.shape) == ("presence head", "Linear", (3,))
    assert last.parameters == 8 * 3 + 3
    assert last.field == (None, None)
