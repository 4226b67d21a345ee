"""The presence head's answer, from a trained run to tables, scores and report."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from predict_phantoms import Predict

from medseg.inference.settings import InferenceSettings
from medseg.io import read_volume
from medseg.networks.network import SegmentationNetwork
from medseg.prediction.segmentation_model import SegmentationModel
from medseg.preparation.preprocessing import preprocess
from medseg.runs.config import RunConfig
from medseg.runs.train import TrainedRun, train
from medseg.settings import parse_settings
from medseg.store import Store
from medseg.tables import read_frame

SIZE = 16
VALUES: dict[str, Any] = {
    "fold": 0,
    "plan": {
        "patch_size": [SIZE] * 3,
        "batch_size": 1,
        "network": {
            "name": "unet",
            "channels": [4, 8],
            "strides": [1, 2],
            "presence_head": True,
        },
    },
    "training": {"steps": 4, "precision": "float32"},
    "inference": {"engine": "torch", "precision": "float32"},
    "metrics": {"num_resamples": 100},
    "tracking": {"enabled": False},
}


@pytest.fixture(scope="module")
def trained(tiny_store: Store, tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    config = parse_settings(RunConfig, VALUES | {"data": tiny_store.folder})
    return train(config, tmp_path_factory.mktemp("runs") / "present", device="cpu")


def windows_of(shape: tuple[int, ...]) -> list[tuple[slice, ...]]:
    """Windows side by side, spread evenly, as few as cover each axis."""
    axes = []
    for length in shape:
        count = -(-length // SIZE)
        room = length - SIZE
        starts = [round(room * i / max(count - 1, 1)) for i in range(count)]
        axes.append([slice(start, start + SIZE) for start in starts])
    return list(itertools.product(*axes))


def test_a_scan_holds_what_one_of_its_windows_holds(trained: TrainedRun) -> None:
    model = SegmentationModel.load(trained.folder, device="cpu")
    store = trained.store
    case_id = store.split(0)[1][0]
    volume = read_volume(store.images(case_id))
    image = torch.from_numpy(preprocess(volume, store.plan, name=case_id).image)
    network = model.saved.network
    assert isinstance(network, SegmentationNetwork)
    with torch.inference_mode():
        answers = [
            network(image[(None, slice(None), *window)], with_presence=True)[1]
            for window in windows_of(tuple(image.shape[1:]))
        ]
    expected = torch.cat(answers).sigmoid().amax(0)[1:]
    found = model.presence(volume, name=case_id)
    assert list(found) == list(store.plan.labels.structures)
    np.testing.assert_allclose(list(found.values()), expected, atol=1e-5)


def test_held_out_cases_are_scored_and_reported(trained: TrainedRun) -> None:
    table = read_frame(trained.folder / "validation" / "presence.csv")
    held_out = trained.store.split(0)[1]
    assert sorted(set(table["case_id"])) == sorted(held_out)
    assert table["present"].all()  # every tiny case shows both structures
    page = (trained.folder / "report.html").read_text()
    assert "Presence of structures" in page


def test_predictions_say_the_same_as_held_out_scores(
    trained: TrainedRun, call: Predict, tmp_path: Path
) -> None:
    store = trained.store
    case_id = store.split(0)[1][0]
    settings = InferenceSettings(engine="torch", precision="float32")
    scan = store.images(case_id)[0]
    (line,) = call(trained.folder, scan, tmp_path / "out", settings=settings)
    scored = read_frame(trained.folder / "validation" / "presence.csv")
    rows = scored[scored["case_id"] == case_id]
    expected = dict(zip(rows["structure"], rows["probability"], strict=True))
    assert line.presence == pytest.approx(expected, abs=1e-6)
    written = read_frame(tmp_path / "out" / "predictions.csv")
    assert written["ball_presence"][0] == pytest.approx(expected["ball"], rel=1e-5)
    (again,) = call(trained.folder, scan, tmp_path / "out", settings=settings)
    assert again.status == "unchanged"
    assert again.presence == pytest.approx(expected, rel=1e-5)


def test_models_without_the_head_say_nothing(
    model: Path, tiny_study: Path, call: Predict, tmp_path: Path
) -> None:
    scan = sorted((tiny_study / "imagesTr").glob("*.nii.gz"))[0]
    (line,) = call(model, scan, tmp_path / "out")
    assert line.presence == {}
    assert "presence" not in (tmp_path / "out" / "predictions.csv").read_text()
