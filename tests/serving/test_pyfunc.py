"""A tracked model through MLflow's own functions: the voxels of `medseg predict`."""

import base64
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd
import pytest
from predict_phantoms import Predict

import medseg
from medseg.inference.settings import InferenceSettings
from medseg.io import read_label_map
from medseg.plausibility.judgement import Plausibility
from medseg.prediction.segmentation_model import SegmentationModel
from medseg.serving.pyfunc import ServedModel
from medseg.tracking import default_tracking_uri, open_mlflow_run
from medseg.tracking.mlmodel import signature_of
from medseg.tracking.store import connect
from medseg.training.logger import TrackedModel

PLAIN: Any = {"engine": "torch", "precision": "float32"}


@pytest.fixture
def served(bright_model: Path) -> ServedModel:
    settings = InferenceSettings(**PLAIN)
    return ServedModel(
        SegmentationModel.load(bright_model, device="cpu", settings=settings)
    )


@pytest.fixture
def expected(
    bright_model: Path, tiny_study: Path, call: Predict, tmp_path: Path
) -> Path:
    """What `medseg predict` writes for the first scan."""
    settings = InferenceSettings(**PLAIN)
    scan = tiny_study / "imagesTr" / "tiny_000.nii.gz"
    call(bright_model, scan, tmp_path / "expected", settings=settings)
    return tmp_path / "expected" / "tiny_000.nii.gz"


def table(*images: object, **columns: object) -> pd.DataFrame:
    return pd.DataFrame({"image": list(images), **columns})


def in_base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def label_map_of(text: str, tmp_path: Path) -> Any:
    (tmp_path / "answer.nii.gz").write_bytes(base64.b64decode(text))
    return read_label_map(tmp_path / "answer.nii.gz")


@pytest.mark.filterwarnings("ignore:.*AnyType")  # when MLflow's pyfunc is imported
def test_mlflow_loads_it_by_every_address(
    bright_model: Path,
    tiny_study: Path,
    expected: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import mlflow

    store = default_tracking_uri(tmp_path / "runs")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    with open_mlflow_run(
        tracking_uri=store, experiment="e", run_name="r", folder=tmp_path / "runs/r"
    ) as run:
        about = TrackedModel(("synthetic0",), {"ball": 1, "kernel": 2}, 1)
        run.log_model(bright_model, about)
    client = connect(store)
    (output,) = client.get_run(run.run_id).outputs.model_outputs
    scan = tiny_study / "imagesTr" / "tiny_000.nii.gz"
    wanted = read_label_map(expected).voxels
    assert wanted.any()
    version = mlflow.register_model(f"models:/{output.model_id}", "ball finder")
    client.set_registered_model_alias("ball finder", "best", version.version)
    for address in (
        f"models:/{output.model_id}",
        f"runs:/{run.run_id}/model",
        "models:/ball finder/1",
        "models:/ball finder@best",
    ):
        loaded = mlflow.pyfunc.load_model(address, model_config={"device": "cpu"})
        answer = loaded.predict(table(str(scan)))
        found = label_map_of(answer["label_map"][0], tmp_path)
        np.testing.assert_array_equal(found.voxels, wanted)
        own = medseg.load_model(address, device="cpu", **PLAIN)
        np.testing.assert_array_equal(own.predict(scan).voxels, wanted)
    assert isinstance(loaded.get_raw_model(), SegmentationModel)


@pytest.mark.parametrize(
    ("doubts", "unchecked", "flag"),
    [
        (("too dark", "a hole"), "", "suspect"),
        ((), "no ranges", "no ranges"),
        ((), "", "plausible"),
    ],
)
def test_the_answer_says_what_predictions_csv_says_of_suspects(
    served: ServedModel,
    tiny_study: Path,
    monkeypatch: pytest.MonkeyPatch,
    doubts: tuple[str, ...],
    unchecked: str,
    flag: str,
) -> None:
    def judged(*args: object, **options: object) -> Plausibility:
        return Plausibility(doubts=doubts, unchecked=unchecked)

    monkeypatch.setattr(SegmentationModel, "plausibility", judged)
    scan = str(tiny_study / "imagesTr" / "tiny_000.nii.gz")
    answer = served.predict(table(scan, "nowhere.nii.gz"))
    assert list(answer["plausibility"]) == [flag, ""]
    assert list(answer["suspect_because"]) == ["; ".join(doubts), ""]
    signature = signature_of(("synthetic0",), {"ball": 1, "kernel": 2})
    assert set(answer) == set(signature.outputs.input_names())


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii"])
def test_a_file_in_base64_is_as_good_as_its_path(
    served: ServedModel, tiny_study: Path, expected: Path, tmp_path: Path, suffix: str
) -> None:
    image = nibabel.load(tiny_study / "imagesTr" / "tiny_000.nii.gz")
    nibabel.save(image, tmp_path / f"scan{suffix}")
    row = served.predict(table(in_base64(tmp_path / f"scan{suffix}"))).iloc[0]
    assert (row["name"], row["status"], row["reason"]) == ("scan_0", "done", "")
    found = base64.b64decode(row["label_map"])
    if suffix == ".nii.gz":
        found = label_map_of(row["label_map"], tmp_path).voxels
        np.testing.assert_array_equal(found, read_label_map(expected).voxels)
    else:  # the label map has the scan's own format
        (tmp_path / "plain.nii").write_bytes(found)
        np.testing.assert_array_equal(
            read_label_map(tmp_path / "plain.nii").voxels,
            read_label_map(expected).voxels,
        )


def test_files_are_written_where_they_are_asked_for_and_never_over_others(
    served: ServedModel, tiny_study: Path, expected: Path, tmp_path: Path
) -> None:
    scan, out = tiny_study / "imagesTr" / "tiny_000.nii.gz", tmp_path / "out"
    params = {"output_folder": str(out)}
    row = served.predict(table(str(scan)), params).iloc[0]
    assert row["label_map"] == str(out / "tiny_000.nii.gz")
    assert (out / "tiny_000.nii.gz").read_bytes() == expected.read_bytes()
    assert row["ball_ml"] >= 0
    again = served.predict(table(str(scan)), params).iloc[0]
    assert again["status"] == "failed"
    assert "overwrites nothing" in again["reason"]
    assert [path.name for path in out.iterdir()] == ["tiny_000.nii.gz"]


def test_one_wrong_row_costs_itself_alone(
    served: ServedModel, tiny_study: Path, tmp_path: Path
) -> None:
    scan = str(tiny_study / "imagesTr" / "tiny_000.nii.gz")
    (tmp_path / "torn.nii.gz").write_bytes(Path(scan).read_bytes()[:900])
    rows = [
        "nowhere.nii.gz",
        base64.b64encode(b"no NIfTI " * 900).decode(),
        str(tiny_study / "imagesTr"),
        in_base64(tmp_path / "torn.nii.gz"),
        None,
        scan,
    ]
    answer = served.predict(table(*rows))
    assert list(answer["status"]) == ["failed"] * 5 + ["done"]
    wanted = ["no such", "neither a path nor", "6 scans, expected one", "", "expected"]
    for reason, part in zip(answer["reason"], wanted, strict=False):
        assert reason
        assert part in reason
    assert answer["label_map"].isna().tolist() == [True] * 5 + [False]
