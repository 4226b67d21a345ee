"""Task lists: several models, in order, as one label map."""

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import yaml
from dicom_phantom import voxels as phantom_voxels
from dicom_phantom import write_series
from monai_bundles import UNET, config_of, write_bundle
from nnunet_folders import Example
from scipy import ndimage

from medseg.errors import ModelError, PredictionError, SettingsError
from medseg.prediction.load import load_segmentation
from medseg.prediction.predict import predict
from medseg.prediction.segmentation_model import SegmentationModel
from medseg.prediction.segmenter import ScanOptions
from medseg.prediction.task_list import read_task_list
from medseg.prediction.task_predictor import box_around
from medseg.volume import Volume

TRAINER = "nnUNetTrainer__nnUNetPlans__3d_fullres"
SHAPE, SPACING = (22, 19, 15), (1.0, 1.25, 1.5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models in TotalSegmentator's layout, and one of MONAI's."""
    place = tmp_path_factory.mktemp("models")
    labels = {
        "Dataset291_organs": {"background": 0, "spleen": 1, "liver": 2},
        "Dataset292_bones": {"background": 0, "rib": 1, "hip": 2},
        "Dataset298_body": {"background": 0, "body": 1},
    }
    for seed, (name, values) in enumerate(labels.items()):
        Example(
            labels=values,
            channels=("CT",),
            mirror=None,
            seed=seed,
            dataset={"licence": "CC-BY 4.0"} if seed == 0 else {},
        ).write(place / name / TRAINER)
    write_bundle(
        place / "vessels",
        config_of({**UNET, "out_channels": 2}),
        outputs=("background", "aorta"),
    )
    return place


@pytest.fixture
def volume() -> Volume:
    rng = np.random.default_rng(5)
    coarse = rng.normal(40, 60, size=[n // 3 + 1 for n in SHAPE])
    voxels = ndimage.zoom(coarse, 3, order=1)[tuple(slice(n) for n in SHAPE)]
    affine = np.diag([*SPACING, 1.0]) @ np.diag([-1.0, -1.0, 1.0, 1.0])
    affine[:3, 3] = (11.0, -4.0, 30.0)
    return Volume(voxels[None].astype(np.float32), affine)


def written(folder: Path, name: str, **values: Any) -> Path:
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(values, sort_keys=False))
    return file


def alone(path: Path, volume: Volume) -> np.ndarray:
    """The label map of one model by itself."""
    return SegmentationModel.load(path, device="cpu").segment(volume).voxels


def test_later_models_paint_over_earlier_ones(folder: Path, volume: Volume) -> None:
    file = written(
        folder,
        "all",
        models=[
            {"model": "Dataset291_organs"},
            {"model": "Dataset292_bones", "labels": {"hip": 7}},
            {"model": "vessels", "rename": {"aorta": "vessel"}},
        ],
    )
    model = load_segmentation(file, device="cpu")
    assert model.labels.names == {"spleen": 1, "liver": 2, "hip": 7, "vessel": 3}
    organs = alone(folder / "Dataset291_organs", volume)
    bones = alone(folder / "Dataset292_bones", volume)
    vessels = alone(folder / "vessels", volume)
    wanted = np.where(bones == 2, 7, organs)
    wanted = np.where(vessels == 1, 3, wanted)
    assert set(np.unique(wanted)) == {0, 1, 2, 3, 7}
    np.testing.assert_array_equal(model.segment(volume).voxels, wanted)
    turned = written(
        folder,
        "turned",
        models=[
            {"model": "vessels", "labels": {"aorta": 3}},
            {"model": "Dataset292_bones", "labels": {"hip": 7}},
            {"model": "Dataset291_organs", "labels": {"spleen": 1, "liver": 2}},
        ],
    )
    wanted = np.where(vessels == 1, 3, 0)
    wanted = np.where(bones == 2, 7, wanted)
    wanted = np.where(organs > 0, organs, wanted)
    found = load_segmentation(turned, device="cpu").segment(volume).voxels
    np.testing.assert_array_equal(found, wanted)


def test_crop_and_spacing(folder: Path, volume: Volume) -> None:
    file = written(
        folder,
        "crop",
        spacing=[2.0, 1.5, 1.5],
        crop={"model": "Dataset298_body", "structures": ["body"], "margin": 2.5},
        models=[{"model": "Dataset291_organs"}, {"model": "Dataset292_bones"}],
    )
    rough = alone(folder / "Dataset298_body", volume) == 1
    where = np.argwhere(rough)
    more = np.ceil(2.5 / np.array(SPACING)).astype(int)
    low = np.maximum(where.min(0) - more, 0)
    high = np.minimum(where.max(0) + 1 + more, SHAPE)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    affine = volume.affine.copy()
    affine[:3, 3] = (volume.affine @ [*low, 1.0])[:3]
    part = volume.voxels[0][box]
    new = np.array([2.0, 1.5, 1.5])
    shape = np.rint(np.array(part.shape) * SPACING / new).astype(int)
    scale = new / SPACING
    offset = (scale - 1) / 2
    options = {"matrix": scale, "offset": offset, "output_shape": shape}
    resampled = ndimage.affine_transform(part, **options, order=3, mode="nearest")
    grid = affine.copy()
    grid[:3, :3] *= scale
    grid[:3, 3] = (affine @ [*offset, 1.0])[:3]
    scan = Volume(resampled[None], grid)
    organs = alone(folder / "Dataset291_organs", scan)
    bones = alone(folder / "Dataset292_bones", scan)
    merged = np.where(bones > 0, bones + 2, organs)
    back = ndimage.affine_transform(
        merged,
        matrix=1 / scale,
        offset=-offset / scale,
        output_shape=part.shape,
        order=0,
        mode="nearest",
    )
    wanted = np.zeros(SHAPE, int)
    wanted[box] = back
    model = load_segmentation(file, device="cpu")
    notes: list[str] = []
    found = model.segment(volume, notes=notes)
    np.testing.assert_array_equal(found.voxels, wanted)
    assert len(np.unique(wanted)) == 5
    sizes = " x ".join(map(str, part.shape))
    assert any(f"crop: {sizes} of 22 x 19 x 15" in note for note in notes)


def test_a_crop_that_finds_nothing_looks_everywhere(
    folder: Path, volume: Volume
) -> None:
    assert box_around(np.zeros((3, 4, 5), int), (1,), volume.grid, 5.0) is None
    labels = np.zeros(SHAPE, int)
    labels[10:12, 3, 0:2] = 4
    assert box_around(labels, (4,), volume.grid, 2.0) == (
        slice(8, 14),
        slice(1, 6),
        slice(0, 4),
    )


def test_files_in_files_out_with_licence(
    folder: Path, volume: Volume, tmp_path: Path
) -> None:
    file = written(
        folder,
        "licences",
        models=[
            {"model": "Dataset291_organs"},
            {"model": "Dataset292_bones", "licence": "Apache-2.0"},
            {"model": "Dataset298_body", "labels": {"body": 9}},
        ],
    )
    scans, out = tmp_path / "scans", tmp_path / "out"
    scans.mkdir()
    nibabel.save(
        nibabel.Nifti1Image(volume.voxels[0], volume.affine), scans / "a.nii.gz"
    )
    write_series(scans / "study", phantom_voxels((16, 18, 9)))
    lines = predict(file, scans, out, device="cpu", options=ScanOptions(seg=True))
    assert [line.status for line in lines] == ["done", "done"]
    with (out / "predictions.csv").open() as text:
        rows = list(csv.DictReader(text))
    wanted = (
        "Dataset291_organs: CC-BY 4.0; Dataset292_bones: Apache-2.0; "
        "Dataset298_body: not stated"
    )
    assert {row["licence"] for row in rows} == {wanted}
    assert {"spleen_ml", "liver_ml", "rib_ml", "hip_ml", "body_ml"} <= set(rows[0])
    assert any(row["output"].endswith("_seg.dcm") for row in rows)
    again = predict(file, scans, out, device="cpu", options=ScanOptions(seg=True))
    assert [line.status for line in again] == ["unchanged", "unchanged"]
    moved = json.loads(json.dumps(yaml.safe_load(file.read_text())))
    moved["models"][2]["labels"]["body"] = 8
    other = written(folder, "licences", **moved)
    assert [line.status for line in predict(other, scans, out, device="cpu")] == [
        "done",
        "done",
    ]


def test_command_line(folder: Path, volume: Volume, tmp_path: Path) -> None:
    file = written(folder, "cli", models=[{"model": "Dataset298_body"}])
    nibabel.save(
        nibabel.Nifti1Image(volume.voxels[0], volume.affine), tmp_path / "a.nii.gz"
    )
    done = subprocess.run(
        [
            *(sys.executable, "-m", "medseg", "predict", str(file)),
            *(str(tmp_path / "a.nii.gz"), "-o", str(tmp_path / "out")),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "licence: Dataset298_body: not stated" in done.stdout + done.stderr
    assert (tmp_path / "out" / "a.nii.gz").is_file()


WRONG: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "key": (lambda v: v.update(modles=[]), r"unknown key.*nearest: models"),
    "key of a model": (
        lambda v: v["models"][0].update(label={"spleen": 1}),
        r"models\.0\.label: unknown key \(nearest: labels\)",
    ),
    "structure": (
        lambda v: v["models"][0].update(labels={"splen": 1}),
        r"no structure 'splen' \(nearest: spleen\)",
    ),
    "structure of the crop": (
        lambda v: v.update(crop={"model": "Dataset298_body", "structures": ["bodi"]}),
        r"crop\.structures.*nearest: body",
    ),
    "value twice": (
        lambda v: v["models"][0].update(labels={"spleen": 1, "liver": 1}),
        "value 1 stands for spleen and liver",
    ),
    "one name with two values": (
        lambda v: (
            v["models"][0].update(labels={"spleen": 1}),
            v["models"][1].update(rename={"rib": "spleen"}, labels={"rib": 4}),
        ),
        "spleen has the values 1 and 4",
    ),
    "margin": (
        lambda v: v.update(crop={"model": "Dataset298_body", "margin": -1}),
        "margin: must be at least 0",
    ),
    "nothing": (lambda v: v.update(models=[]), "models: must have 1 entries or more"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named(name: str, folder: Path) -> None:
    change, words = WRONG[name]
    values: dict[str, Any] = {
        "models": [{"model": "Dataset291_organs"}, {"model": "Dataset292_bones"}]
    }
    change(values)
    with pytest.raises(SettingsError, match=words):
        load_segmentation(written(folder, "wrong", **values), device="cpu")


def test_models_of_other_channels_and_probabilities(
    folder: Path, volume: Volume, tmp_path: Path
) -> None:
    Example(channels=("CT", "PET"), mirror=None).write(folder / "two" / TRAINER)
    models = [{"model": "Dataset291_organs"}, {"model": "two"}]
    file = written(folder, "channels", models=models)
    with pytest.raises(ModelError, match="wants the channels CT, PET"):
        load_segmentation(file, device="cpu")
    file = written(folder, "one", models=models[:1])
    assert read_task_list(file).name == "one"
    with pytest.raises(PredictionError, match="no probabilities"):
        load_segmentation(file, device="cpu").segment(
            volume, probabilities=tmp_path / "p.b2nd"
        )
