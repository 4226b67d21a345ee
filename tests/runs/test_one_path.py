"""Held-out scores, `predict` and the Python object give the same voxels."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from predict_phantoms import Predict
from small_cells import cell_settings

from medseg.inference.settings import InferenceSettings
from medseg.io import read_label_map, read_volume
from medseg.model import load_model
from medseg.postprocessing import CleaningRule
from medseg.prediction.segmentation_model import SegmentationModel
from medseg.runs import finish
from medseg.runs.config import RunConfig
from medseg.runs.held_out import prediction_path
from medseg.runs.train import TrainedRun, train
from medseg.settings import parse_settings
from medseg.store import Store
from medseg.testing.tiny_cells import make_tiny_cells

ENGINE = {"engine": "torch", "precision": "float32"}
TINY: dict[str, Any] = {
    "fold": 0,
    "plan": {
        "patch_size": [16, 16, 16],
        "batch_size": 1,
        "network": {"name": "unet", "channels": [4, 8], "strides": [1, 2]},
    },
    "training": {"steps": 12, "precision": "float32"},
    "metrics": {"num_resamples": 100},
    "tracking": {"enabled": False},
}
LARGEST = CleaningRule(structure="ball", keep_largest=True)


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finish, "write_report", lambda *_, **__: None)


def run_of(values: dict[str, Any], out: Path) -> TrainedRun:
    return train(parse_settings(RunConfig, values, source="test"), out, device="cpu")


def check_same_voxels(trained: TrainedRun, call: Predict, folder: Path) -> None:
    store = trained.store
    held_out = store.split(0)[1]
    model = SegmentationModel.load(
        trained.folder, device="cpu", settings=InferenceSettings(**ENGINE)
    )
    for case_id in held_out:
        scored = read_label_map(prediction_path(trained.folder, case_id)).voxels
        volume = read_volume(store.images(case_id))
        python = model.segment(volume, name=case_id).voxels
        np.testing.assert_array_equal(python, scored)
        (line,) = call(
            trained.folder,
            store.images(case_id)[0],
            folder / case_id,
            settings=InferenceSettings(**ENGINE),
        )
        found = read_label_map(folder / case_id / line.outputs[0]).voxels
        np.testing.assert_array_equal(found.reshape(scored.shape), scored)
        assert scored.any()


@pytest.mark.parametrize("flips", [False, True])
def test_scored_and_predicted_label_maps_are_the_same(
    tiny_store: Store,
    call: Predict,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    flips: bool,
) -> None:
    monkeypatch.setattr(finish, "rules_that_help", lambda *_: (LARGEST,))
    inference = {**ENGINE, "flips": flips}
    values = {**TINY, "data": tiny_store.folder, "inference": inference}
    trained = run_of(values, tmp_path / "run")
    saved = load_model(trained.folder)
    assert saved.windows is not None
    assert saved.windows.flips == saved.flips == flips
    assert saved.postprocessing == (LARGEST,)
    check_same_voxels(trained, call, tmp_path)


def test_cells_are_cut_as_they_were_scored(call: Predict, tmp_path: Path) -> None:
    data = make_tiny_cells(tmp_path / "cells")
    values = cell_settings(data, steps=40)
    extra = {"fold": 0, "inference": ENGINE, "tracking": {"enabled": False}}
    trained = run_of(values | extra, tmp_path / "run")
    assert load_model(trained.folder).decoding is not None
    check_same_voxels(trained, call, tmp_path)


def test_predicting_changes_nothing_in_a_model_folder(
    model: Path, tiny_study: Path, call: Predict, tmp_path: Path
) -> None:
    before = {path.name: path.read_bytes() for path in model.iterdir()}
    scan = sorted((tiny_study / "imagesTr").glob("*.nii.gz"))[0]
    call(model, scan, tmp_path / "out", settings=InferenceSettings(precision="auto"))
    assert {path.name: path.read_bytes() for path in model.iterdir()} == before
