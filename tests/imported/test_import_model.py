"""`medseg import` writes model folders that predict as the original folder does."""

import json
import shutil
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
import yaml
from nnunet_folders import Example

from medseg.conversion.import_model import import_model
from medseg.errors import (
    MissingFileError,
    ModelError,
    OutputError,
)
from medseg.geometry import affine_from_spacing
from medseg.imported.nnunet import read_nnunet
from medseg.inference.nnunet.postprocess import keep_largest
from medseg.inference.settings import InferenceSettings
from medseg.model import load_model
from medseg.prediction.predict import predict
from medseg.prediction.segmentation_model import SegmentationModel
from medseg.volume import LabelMap, Volume


@pytest.fixture
def volume() -> Volume:
    random = np.random.default_rng(1)
    voxels = random.normal(50, 20, size=(1, 17, 14, 9)).astype(np.float32)
    return Volume(voxels, affine_from_spacing((1.0, 1.2, 1.5)))


def same(one: Path, other: Path, volume: Volume) -> bool:
    found = [
        SegmentationModel.load(path).segment(volume).voxels for path in (one, other)
    ]
    assert len(np.unique(found[0])) > 1
    return bool((found[0] == found[1]).all())


def test_one_fold_is_a_model_folder(tmp_path: Path, volume: Volume) -> None:
    source = Example(folds=("all",)).write(tmp_path / "source")
    import_model(source, tmp_path / "model")
    names = {path.name for path in (tmp_path / "model").iterdir()}
    assert names == {
        "weights.safetensors",
        "model.yaml",
        "golden.safetensors",
        "card.md",
    }
    assert same(source, tmp_path / "model", volume)
    shutil.rmtree(source)
    model = load_model(tmp_path / "model")
    assert model.exact is not None
    assert model.exact.kind == "nnunet"
    assert model.provenance.parent
    assert "Imported from nnU-Net" in (tmp_path / "model" / "card.md").read_text()


def test_identity_is_the_same_before_and_after(tmp_path: Path) -> None:
    source = Example(folds=("0", "1")).write(tmp_path / "source")
    import_model(source, tmp_path / "model")
    one, other = (
        SegmentationModel.load(path).saved.identity
        for path in (source, tmp_path / "model")
    )
    assert one == other


def test_folds_and_previous_stage(tmp_path: Path, volume: Volume) -> None:
    stem = "nnUNetTrainer__nnUNetPlans__"
    first = Example(configuration="3d_lowres", spacing=(2.0, 2.0, 2.0))
    first.write(tmp_path / f"{stem}3d_lowres")
    second = Example(
        configuration="3d_cascade_fullres",
        extra_inputs=2,
        changes={"previous_stage": "3d_lowres"},
        folds=("0", "2"),
    )
    source = second.write(tmp_path / f"{stem}3d_cascade_fullres")
    import_model(source, tmp_path / "model")
    names = {path.name for path in (tmp_path / "model").iterdir()}
    assert names == {"fold_0", "fold_2", "previous_stage"}
    assert same(source, tmp_path / "model", volume)
    (tmp_path / f"{stem}3d_lowres").rename(tmp_path / "elsewhere")
    with pytest.raises(MissingFileError, match="3d_lowres"):
        read_nnunet(source)
    import_model(source, tmp_path / "again", previous=tmp_path / "elsewhere")
    assert same(tmp_path / "again", tmp_path / "model", volume)


def test_settings_of_other_windows_are_said_to_be_left_out(
    tmp_path: Path, volume: Volume
) -> None:
    source = Example(mirror=None).write(tmp_path / "source")
    settings = InferenceSettings(roi="body", window_size=(8, 8, 8))
    notes: list[str] = []
    SegmentationModel.load(source, settings=settings).segment(volume, notes=notes)
    assert notes == ["exact mode does without roi, window_size"]


def test_zip(tmp_path: Path, volume: Volume) -> None:
    folder = tmp_path / "Dataset900_example" / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    Example().write(folder)
    path = tmp_path / "model.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in folder.rglob("*.*"):
            archive.write(file, file.relative_to(tmp_path))
    assert same(folder, path, volume)


def test_postprocessing_of_the_folder_is_applied(tmp_path: Path) -> None:
    source = Example(folds=("0", "1")).write(tmp_path / "source")
    place = source / "crossval_results_folds_0_1"
    place.mkdir()
    name = "remove_all_but_largest_component_from_segmentation"
    rules = [{"labels_or_regions": [1, 2]}, {"labels_or_regions": 2}]
    (place / "postprocessing.json").write_text(
        json.dumps({"postprocessing_fns": [name, name], "postprocessing_kwargs": rules})
    )
    assert SegmentationModel.load(source).largest == ((1, 2), (2,))
    assert SegmentationModel.load(source, postprocess=False).largest == ()


def test_the_largest_component_stays() -> None:
    voxels = np.zeros((1, 4, 9), np.uint8)
    voxels[0, :2, :3] = [[1, 1, 2], [1, 0, 0]]
    voxels[0, 2, 1] = 2  # touches the first by a corner
    voxels[0, 0, 5:7] = 2  # as large as the next, and both are smaller
    voxels[0, 3, 5:7] = 1
    affine = affine_from_spacing((1.0, 1.0, 1.0))
    notes: list[str] = []
    found = keep_largest(LabelMap(voxels, affine), [(1, 2)], notes=notes).voxels
    expected = np.where(np.arange(9) < 4, voxels, 0)
    np.testing.assert_array_equal(found, expected)
    assert notes == [
        "post-processing: 4 voxels outside of the largest component of labels 1, 2 "
        "taken away"
    ]
    # of label 2 alone, the pair is the largest; of label 1, three against two
    found = keep_largest(LabelMap(voxels, affine), [(2,), (1,)], notes=[]).voxels
    expected = np.where(np.isin(voxels, (1, 2)), voxels, 0)
    expected[0, 0, 2] = expected[0, 2, 1] = 0
    expected[0, 3, 5:7] = 0
    np.testing.assert_array_equal(found, expected)
    # of equals all stay
    twins = np.zeros((1, 4, 9), np.uint8)
    twins[0, :2, 1] = twins[0, 2:, 5] = 1
    same = keep_largest(LabelMap(twins, affine), [(1,)], notes=[]).voxels
    np.testing.assert_array_equal(same, twins)


def test_predict_takes_the_folder(tmp_path: Path, volume: Volume) -> None:
    source = Example().write(tmp_path / "source")
    (tmp_path / "scans").mkdir()
    image = nibabel.Nifti1Image(volume.voxels[0], volume.affine)
    nibabel.save(image, tmp_path / "scans" / "case_0000.nii.gz")
    lines = predict(source, tmp_path / "scans", tmp_path / "out")
    assert [line.status for line in lines] == ["done"]
    assert "nnU-Net's own steps" in lines[0].engine
    written = np.asarray(nibabel.load(tmp_path / "out" / "case.nii.gz").dataobj)
    expected = SegmentationModel.load(source).segment(volume).voxels
    np.testing.assert_array_equal(written, expected)
    again = predict(source, tmp_path / "scans", tmp_path / "out")
    assert [line.status for line in again] == ["unchanged"]


def test_fast_mode_needs_a_measurement(tmp_path: Path, volume: Volume) -> None:
    source = Example().write(tmp_path / "source")
    fast = InferenceSettings(fast=True, engine="torch")
    with pytest.raises(ModelError, match="--calibrate"):
        SegmentationModel.load(source, settings=fast)
    image = nibabel.Nifti1Image(volume.voxels[0], volume.affine)
    nibabel.save(image, tmp_path / "scan.nii.gz")
    imported = import_model(
        source, tmp_path / "model", calibrate=tmp_path / "scan.nii.gz"
    )
    agreement = imported.models[0].exact.fast  # type: ignore[union-attr]
    assert agreement is not None
    assert agreement.num_scans == 1
    assert set(agreement.dice) == {"organ", "lesion"}
    description = tmp_path / "model" / "model.yaml"
    values = yaml.safe_load(description.read_text())
    values["exact"]["fast"]["dice"] = {"organ": 1.0, "lesion": 0.9985}
    description.write_text(yaml.safe_dump(values))
    with pytest.raises(ModelError, match=r"below 0\.999"):
        SegmentationModel.load(tmp_path / "model", settings=fast)
    values["exact"]["fast"]["dice"] = {"organ": 1.0, "lesion": 0.9995}
    description.write_text(yaml.safe_dump(values))
    model = SegmentationModel.load(tmp_path / "model", settings=fast)
    assert "nnU-Net's own steps" in model.engine
    exact = SegmentationModel.load(tmp_path / "model")
    assert exact.depends_on != model.depends_on
    found, wanted = (m.segment(volume).voxels for m in (model, exact))
    assert np.count_nonzero(found != wanted) <= 0.002 * found.size


def test_fast_mode_of_a_cascade_and_of_folds(tmp_path: Path, volume: Volume) -> None:
    """Engines are tried on images with the channels that the first stage adds."""
    stem = "nnUNetTrainer__nnUNetPlans__"
    first = Example(configuration="3d_lowres", spacing=(2.0, 2.0, 2.0), mirror=None)
    first.write(tmp_path / f"{stem}3d_lowres")
    second = Example(
        configuration="3d_cascade_fullres",
        extra_inputs=2,
        changes={"previous_stage": "3d_lowres"},
        folds=("0", "2"),
        mirror=None,
    )
    source = second.write(tmp_path / f"{stem}3d_cascade_fullres")
    image = nibabel.Nifti1Image(volume.voxels[0], volume.affine)
    nibabel.save(image, tmp_path / "scan.nii.gz")
    import_model(source, tmp_path / "model", calibrate=tmp_path / "scan.nii.gz")
    for folder in (tmp_path / "model").rglob("model.yaml"):
        values = yaml.safe_load(folder.read_text())
        if folder.parent.parent.name != "previous_stage":
            values["exact"]["fast"]["dice"] = {"organ": 1.0, "lesion": 1.0}
        folder.write_text(yaml.safe_dump(values))
    settings = InferenceSettings(fast=True, engine="torch", precision="float32")
    fast = SegmentationModel.load(tmp_path / "model", settings=settings)
    exact = SegmentationModel.load(tmp_path / "model")
    found, wanted = (m.segment(volume).voxels for m in (fast, exact))
    assert np.count_nonzero(found != wanted) <= 0.002 * found.size


def test_orientation_of_the_training_files(tmp_path: Path, volume: Volume) -> None:
    source = Example().write(tmp_path / "source")
    import_model(source, tmp_path / "model", orientation="LPS")
    turned = Volume(
        volume.voxels[:, ::-1, ::-1].copy(),
        volume.affine @ np.diag([-1.0, -1.0, 1.0, 1.0]),
    )
    expected = SegmentationModel.load(source).segment(turned).voxels
    found = SegmentationModel.load(tmp_path / "model").segment(volume).voxels
    np.testing.assert_array_equal(found[::-1, ::-1], expected)


def test_folders_that_are_there_or_are_none(tmp_path: Path) -> None:
    source = Example().write(tmp_path / "source")
    with pytest.raises(OutputError, match="is there already"):
        import_model(source, source)
    with pytest.raises(MissingFileError, match="no trained model of nnU-Net"):
        import_model(source / "fold_0", tmp_path / "model")
    with pytest.raises(MissingFileError, match="no such file"):
        import_model(tmp_path / "none", tmp_path / "model")
