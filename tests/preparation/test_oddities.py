"""Scans that can be read and are odd: refused, or said with the cases' names."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from test_prepare import Log

from medseg.datasets import load_dataset
from medseg.datasets.doctor import examine
from medseg.errors import DatasetError
from medseg.inference.predictor import Predictor
from medseg.io import read_label_map, read_volume, write_label_map, write_volume
from medseg.networks.build import build_network
from medseg.preparation import prepare
from medseg.preparation.preprocessing import edgewise_remark
from medseg.testing.tiny_study import make_tiny_study
from medseg.volume import LabelMap, Volume


def repaint(
    study: Path, numbers: tuple[int, ...], *channels: int, value: float
) -> None:
    """Sets channels of some cases to one value everywhere."""
    for number in numbers:
        path = study / "imagesTr" / f"tiny_{number:03d}.nii.gz"
        volume = read_volume(path)
        voxels = volume.voxels.copy()
        voxels[list(channels)] = value
        write_volume(path, Volume(voxels, volume.affine))


@pytest.mark.parametrize("value", [0.0, 7.0, -1000.0])
@pytest.mark.parametrize("numbers", [(1,), (0, 1, 2, 3)])
def test_a_case_without_contrast_is_refused_as_the_doctor_does(
    tmp_path, value, numbers
):
    study = make_tiny_study(tmp_path / "s", num_cases=4, shape=(10, 9, 8))
    repaint(study, numbers, 0, value=value)
    found = {f.case_id for f in examine(study).findings if f.kind == "constant"}
    assert found == {f"tiny_{number:03d}" for number in numbers}
    with pytest.raises(DatasetError, match=f"all voxels are {value:g} every") as caught:
        prepare(load_dataset(study), tmp_path / "store", workers=1)
    assert all(name in str(caught.value) for name in found)
    assert "prepare.skip_broken" in str(caught.value)
    if len(numbers) < 4:
        store = prepare(
            load_dataset(study), tmp_path / "store", workers=1, skip_broken=True
        )
        assert set(store.case_ids) == {f"tiny_{n:03d}" for n in range(4)} - found


def test_every_channel_counts(tmp_path):
    study = make_tiny_study(
        tmp_path / "s", num_cases=4, shape=(10, 9, 8), num_channels=2
    )
    repaint(study, (2,), 1, value=0.0)
    log = Log()
    prepare(load_dataset(study), tmp_path / "store", workers=1, progress=log)
    (said,) = [line for line in log.warned if "same everywhere" in line]
    assert "in 1 of 4 cases (tiny_002)" in said
    repaint(study, (2,), 0, 1, value=0.0)
    with pytest.raises(DatasetError, match=r"tiny_002.*all voxels are 0, 0 everywhere"):
        prepare(load_dataset(study), tmp_path / "store", workers=1)


def slices(folder: Path, shapes: list[tuple[int, int, int]]) -> Path:
    """A study in which each case has a shape of its own."""
    study = make_tiny_study(folder, num_cases=len(shapes), shape=(16, 16, 16))
    for number, shape in enumerate(shapes):
        box = tuple(slice(8 - n // 2, 8 - n // 2 + n) for n in shape)
        for part in ("imagesTr", "labelsTr"):
            path = study / part / f"tiny_{number:03d}.nii.gz"
            if part == "imagesTr":
                volume = read_volume(path)
                write_volume(
                    path, Volume(volume.voxels[(slice(None), *box)], volume.affine)
                )
            else:
                label = read_label_map(path)
                write_label_map(path, LabelMap(label.voxels[box], label.affine))
    return study


AXIAL, CORONAL, SAGITTAL = (16, 16, 1), (16, 1, 16), (1, 16, 16)


@pytest.mark.parametrize("odd", [CORONAL, SAGITTAL])
def test_a_slice_across_the_others_is_said_when_preparing(tmp_path, odd):
    study, log = slices(tmp_path / "s", [AXIAL, AXIAL, AXIAL, odd]), Log()
    prepare(
        load_dataset(study), tmp_path / "o", workers=1, spatial_dims=2, progress=log
    )
    (said,) = [line for line in log.warned if "row by row" in line]
    assert said.startswith("1 of 4 cases (tiny_003)")


@pytest.mark.parametrize("shape", [AXIAL, CORONAL, SAGITTAL])
def test_a_study_of_equal_slices_is_nothing_odd(tmp_path, shape):
    study, log = slices(tmp_path / "s", [shape] * 4), Log()
    prepare(load_dataset(study), tmp_path / "o", workers=1, progress=log)
    assert not [line for line in log.warned if "row by row" in line]


@pytest.mark.parametrize(
    ("shape", "odd"),
    [(AXIAL, False), (CORONAL, True), (SAGITTAL, True), ((16, 16, 16), False)],
)
def test_a_slice_across_the_model_s_is_remarked(tmp_path, shape, odd):
    study = slices(tmp_path / "s", [AXIAL] * 4)
    plan = prepare(load_dataset(study), tmp_path / "o", workers=1).plan
    voxels = np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32)
    scan, notes = Volume(voxels, np.eye(4)), list[str]()
    network = build_network(
        plan.network, spatial_dims=2, in_channels=1, out_channels=3
    ).eval()
    Predictor(network, plan, torch.device("cpu")).predict(scan, notes=notes)
    assert any("16 rows of one voxel" in note for note in notes) == odd
    spatial = plan.replaced(
        spatial_dims=3, patch_size=(16, 16, 8), target_spacing=(1, 1, 1)
    )
    assert edgewise_remark(scan.grid, spatial) == ""


def test_the_data_may_be_renamed_and_moved(tmp_path):
    study = make_tiny_study(tmp_path / "s", num_cases=3, shape=(10, 9, 8))
    values = json.loads((study / "dataset.json").read_text())
    first = load_dataset(study)
    study.rename(tmp_path / "renamed")
    values["name"] = "another"
    (tmp_path / "renamed" / "dataset.json").write_text(json.dumps(values))
    assert load_dataset(tmp_path / "renamed").manifest_hash == first.manifest_hash
