"""`medseg.load_model(...).predict(image)` gives the voxels of `medseg predict`."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from predict_phantoms import Predict

import medseg
from medseg.errors import InputError, MissingFileError
from medseg.inference.settings import InferenceSettings
from medseg.io import read_label_map
from medseg.model import load_model, save_model
from medseg.postprocessing import CleaningRule
from medseg.prediction.segmentation_model import PredictionWarning

PLAIN: Any = {"engine": "torch", "precision": "float32"}


@pytest.fixture
def with_rules(bright_model: Path, tmp_path: Path) -> Path:
    saved = load_model(bright_model)
    rule = CleaningRule(structure="ball", keep_largest=True)
    folder = tmp_path / "model"
    save_model(
        folder, saved.network, saved.plan, saved.provenance, postprocessing=(rule,)
    )
    return folder


def written(call: Predict, model: Path, scan: Path, out: Path, **settings: Any) -> Any:
    (line,) = call(model, scan, out, settings=InferenceSettings(**settings))
    return read_label_map(out / line.outputs[0], allow_shear=True)


@pytest.mark.parametrize(
    "options",
    [
        PLAIN,
        {**PLAIN, "flips": True},
        {**PLAIN, "overlap": 0.25},
        {"engine": "onnx", "precision": "float32"},
        {"reproducible": True},
    ],
    ids=str,
)
def test_flips_windows_engines_and_rules(
    with_rules: Path, tiny_study: Path, call: Predict, tmp_path: Path, options: Any
) -> None:
    scan = tiny_study / "imagesTr" / "tiny_001.nii.gz"
    expected = written(call, with_rules, scan, tmp_path / "out", **options)
    model = medseg.load_model(with_rules, device="cpu", **options)
    assert expected.voxels.any()
    found = model.predict(str(scan))
    np.testing.assert_array_equal(found.voxels, expected.voxels)
    for image in (nibabel.load(scan), sitk.ReadImage(str(scan))):
        answer = medseg.predict(model, image)
        assert type(answer).__module__.startswith(("nibabel", "SimpleITK"))
        back = medseg.evaluate(answer, expected).cases
        assert back["dice"].min() == 1


def test_several_models_answer_as_one(
    model: Path, bright_model: Path, tiny_study: Path, call: Predict, tmp_path: Path
) -> None:
    scan = tiny_study / "imagesTr" / "tiny_002.nii.gz"
    both = f"{model},{bright_model}"
    expected = written(call, Path(both), scan, tmp_path / "out", **PLAIN)
    found = medseg.load_model(both, device="cpu", **PLAIN).predict(scan)
    np.testing.assert_array_equal(found.voxels, expected.voxels)


def test_a_leaning_grid_is_put_straight_and_back_again(
    bright_model: Path, tiny_study: Path, call: Predict, tmp_path: Path
) -> None:
    volume = medseg.read_volume(tiny_study / "imagesTr" / "tiny_000.nii.gz")
    leaning = volume.affine.copy()
    leaning[1, 2] = 0.3
    image = replace(volume, affine=leaning).to_nibabel()
    nibabel.save(image, tmp_path / "leaning.nii.gz")
    expected = written(
        call, bright_model, tmp_path / "leaning.nii.gz", tmp_path / "out", **PLAIN
    )
    model = medseg.load_model(bright_model, device="cpu", **PLAIN)
    with pytest.warns(PredictionWarning) as caught:
        found = model.predict(image)
    assert any("sheared grid was resampled" in str(item.message) for item in caught)
    np.testing.assert_array_equal(np.asarray(found.dataobj), expected.voxels)
    notes: list[str] = []
    again = model.predict(tmp_path / "leaning.nii.gz", notes=notes)
    np.testing.assert_array_equal(again.voxels, expected.voxels)
    assert any("sheared" in note for note in notes)
    with pytest.raises(InputError, match="not at right angles"):
        model.predict(image, strict=True)


def test_a_folder_of_scans_is_no_image(model: Path, tiny_study: Path) -> None:
    loaded = medseg.load_model(model, device="cpu", **PLAIN)
    with pytest.raises(InputError, match="6 scans, expected one"):
        loaded.predict(tiny_study / "imagesTr")
    with pytest.raises(MissingFileError):
        loaded.predict(tiny_study / "absent.nii.gz")


def test_a_loaded_model_segments_folders_too(
    bright_model: Path, tiny_study: Path, tmp_path: Path
) -> None:
    loaded = medseg.load_model(bright_model, device="cpu", **PLAIN)
    out = tmp_path / "out"
    lines = medseg.predict(loaded, tiny_study / "imagesTr", out, progress=False)
    assert [line.status for line in lines] == ["done"] * 6
    first = read_label_map(out / lines[0].outputs[0])
    found = loaded.predict(tiny_study / "imagesTr" / "tiny_000.nii.gz")
    np.testing.assert_array_equal(found.voxels, first.voxels)


def test_mlflow_keeps_models(
    bright_model: Path,
    tiny_study: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from mlflow import MlflowClient

    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    client = MlflowClient(store)
    experiment = client.create_experiment("x", (tmp_path / "files").as_uri())
    run_id = client.create_run(experiment).info.run_id
    client.log_artifacts(run_id, str(bright_model), "model")
    image = tiny_study / "imagesTr" / "tiny_000.nii.gz"
    expected = medseg.load_model(bright_model, device="cpu", **PLAIN).predict(image)
    for uri in (f"runs:/{run_id}", f"runs:/{run_id}/model"):
        found = medseg.load_model(uri, device="cpu", **PLAIN).predict(image)
        np.testing.assert_array_equal(found.voxels, expected.voxels)
    with pytest.raises(MissingFileError, match="runs:/nothing: no model of this add"):
        medseg.load_model("runs:/nothing")
