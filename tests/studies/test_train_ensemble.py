"""Networks that predict together: trained apart, cut and scored as one."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from small_cells import cell_settings

from medseg.calibration.ensemble import FILE, read_calibration, write_calibration
from medseg.errors import ModelError, OutputError, SettingsError
from medseg.folder_lock import lock_folder
from medseg.io import read_label_map
from medseg.model import load_model
from medseg.prediction.ensemble import load_ensemble
from medseg.prediction.predict import predict
from medseg.prediction.records import DONE, UNCHANGED
from medseg.prediction.scan import Scan
from medseg.runs.config import RunConfig
from medseg.runs.held_out import FOLDER, prediction_path
from medseg.runs.train import train
from medseg.studies.train_ensemble import TrainedEnsemble, train_ensemble
from medseg.testing.tiny_cells import make_tiny_cells
from medseg.tracking.address import default_tracking_uri
from medseg.tracking.store import connect


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    folder = tmp_path_factory.mktemp("ensemble")
    values = cell_settings(make_tiny_cells(folder / "data"), steps=40)
    values["inference"] = {
        "engine": "torch",
        "precision": "float32",
        "overlap": 0.5,
        "flips": True,
    }
    return RunConfig.model_validate(values)


@pytest.fixture(scope="module")
def trained(config: RunConfig) -> TrainedEnsemble:
    """Two networks, the first trained by a call of its own."""
    assert config.data is not None
    out = config.data.parent.parent / "study" / "networks"
    first = train_ensemble(config, out, networks=2, only=[0], device="cpu")
    assert first.evaluation is None
    assert not (out / "network1").exists()
    assert not (out / FILE).exists()
    return train_ensemble(config, out, networks=2, device="cpu")


def test_networks_differ_by_their_seed(trained: TrainedEnsemble) -> None:
    seeds = [
        yaml.safe_load((run / "config.yaml").read_text())["training"]["seed"]
        for run in trained.runs
    ]
    assert seeds == [0, 1]
    hashes = {load_model(run / "model").weights_sha256 for run in trained.runs}
    assert len(hashes) == 2


def test_predicting_does_what_was_scored(
    trained: TrainedEnsemble, config: RunConfig, tmp_path: Path
) -> None:
    store = trained.store
    held_out = store.split(0)[1]
    scans = [Scan.of_files(case, store.images(case)) for case in held_out]
    lines = predict(
        trained.folder, scans, tmp_path, device="cpu", settings=config.inference
    )
    for line in lines:
        found = read_label_map(tmp_path / line.outputs[0]).voxels
        scored = read_label_map(prediction_path(trained.folder, line.scan)).voxels
        assert scored.max() > 1
        np.testing.assert_array_equal(found, scored)
    assert trained.evaluation is not None
    assert trained.evaluation.num_scored == len(held_out) == len(lines)


def test_predictions_are_made_again_once_objects_are_cut_otherwise(
    trained: TrainedEnsemble, config: RunConfig, tmp_path: Path
) -> None:
    networks, out = tmp_path / "networks", tmp_path / "out"
    shutil.copytree(trained.folder, networks)
    case = trained.store.split(0)[1][0]
    scans = [Scan.of_files(case, trained.store.images(case))]

    def status() -> str:
        (line,) = predict(networks, scans, out, device="cpu", settings=config.inference)
        return line.status

    assert [status(), status()] == [DONE, UNCHANGED]
    choice = read_calibration(networks)
    assert choice is not None
    assert choice.decoding is not None
    larger = choice.decoding.model_copy(update={"min_voxels": 10_000})
    write_calibration(networks, choice.model_copy(update={"decoding": larger}))
    assert status() == DONE
    assert read_label_map(out / f"{case}.png").voxels.max() == 0


def test_the_choice_is_that_of_all_together(trained: TrainedEnsemble) -> None:
    decoding = load_ensemble(trained.folder).combined.decoding
    assert decoding is not None
    assert "held-out cases it was chosen on" in decoding.reason
    alone = ",".join(str(run) for run in trained.runs)  # the choice lies in the folder
    mean = load_ensemble(Path(alone)).combined.decoding
    assert mean is not None
    assert mean.reason == "the mean of 2 models"


def test_the_page_and_the_tracked_run_hold_all_networks(
    trained: TrainedEnsemble,
) -> None:
    page = (trained.folder / "report.html").read_text()
    for part in ("2 networks together", "network1", "Sampling statistics"):
        assert part in page
    client = connect(default_tracking_uri(trained.folder.parent))
    (experiment,) = (e for e in client.search_experiments() if e.name != "Default")
    runs = client.search_runs([experiment.experiment_id])
    (parent,) = (run for run in runs if "mlflow.parentRunId" not in run.data.tags)
    nested = [run.data.tags.get("mlflow.parentRunId") for run in runs if run != parent]
    assert nested == [parent.info.run_id] * 2
    assert {"held_out/ap_0.5", "held_out/ap_0.5/low"} < set(parent.data.metrics)
    kept = {file.path for file in client.list_artifacts(parent.info.run_id, FOLDER)}
    assert f"{FOLDER}/objects.csv" in kept


def test_a_second_call_only_does_what_is_missing(
    trained: TrainedEnsemble, config: RunConfig
) -> None:
    held_out = trained.store.split(0)[1]
    kept, lost = (prediction_path(trained.folder, case) for case in held_out[:2])
    weights = trained.runs[0] / "model" / "weights.safetensors"
    before = [path.stat().st_mtime_ns for path in (weights, kept)]
    lost.unlink()
    train_ensemble(config, trained.folder, networks=2, device="cpu")
    assert [path.stat().st_mtime_ns for path in (weights, kept)] == before
    assert lost.is_file()


def test_a_choice_for_other_networks_is_refused_until_made_anew(
    trained: TrainedEnsemble, config: RunConfig, tmp_path: Path
) -> None:
    out = tmp_path / "networks"
    shutil.copytree(trained.folder, out)
    shutil.rmtree(out / "network1")
    with pytest.raises(ModelError, match=r"ensemble\.yaml: was chosen for other netw"):
        load_ensemble(out)
    untracked = {"tracking": config.tracking.model_copy(update={"enabled": False})}
    alone = config.model_copy(update=untracked)
    train_ensemble(alone, out, networks=1, device="cpu")
    one = load_ensemble(out).combined
    assert one.weights_sha256 == load_model(out / "network0").weights_sha256


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"fold": None}, {"networks": 2}, "name a fold to hold out"),
        ({"fold": 1}, {"networks": 2}, "network0: was trained on other cases"),
        ({"fold": 7}, {"networks": 2}, "fold 7"),
        ({}, {"networks": 0}, "0 networks: expected at least 1"),
        ({}, {"networks": 1}, "network1/model: is not of one of the 1 networks"),
        ({}, {"networks": 2, "only": [2]}, "network 2: there are 0 to 1"),
    ],
)
def test_what_cannot_be_is_refused_before_training(
    trained: TrainedEnsemble,
    config: RunConfig,
    changes: dict[str, None],
    options: dict[str, int],
    message: str,
) -> None:
    before = sorted(trained.folder.rglob("*"))
    with pytest.raises(SettingsError, match=message):
        train_ensemble(
            config.model_copy(update=changes), trained.folder, device="cpu", **options
        )
    assert sorted(trained.folder.rglob("*")) == before


def test_a_run_of_its_own_does_not_go_where_an_ensemble_lies(
    trained: TrainedEnsemble, config: RunConfig
) -> None:
    with pytest.raises(SettingsError, match="holds networks that predict together"):
        train(config, trained.folder, device="cpu")
    with pytest.raises(SettingsError, match="model: is not of one of the 2 networks"):
        train_ensemble(config, trained.runs[0], networks=2, device="cpu")


def test_another_way_to_segment_is_chosen_and_scored_anew(
    trained: TrainedEnsemble, config: RunConfig, tmp_path: Path
) -> None:
    out = tmp_path / "networks"
    shutil.copytree(trained.folder, out)
    plain = config.inference.model_copy(update={"flips": False})
    tracking = config.tracking.model_copy(update={"enabled": False})
    changed = config.model_copy(update={"inference": plain, "tracking": tracking})
    first = prediction_path(out, trained.store.split(0)[1][0])
    before = first.stat().st_mtime_ns
    train_ensemble(changed, out, networks=2, device="cpu")
    assert first.stat().st_mtime_ns > before


def test_a_network_that_another_call_trains_is_left_to_it(
    config: RunConfig, tmp_path: Path
) -> None:
    out = tmp_path / "networks"
    tracking = config.tracking.model_copy(update={"enabled": False})
    untracked = config.model_copy(update={"tracking": tracking})
    with (
        lock_folder(out / "network0"),
        pytest.raises(OutputError, match="network0: another medseg"),
    ):
        train_ensemble(untracked, out, networks=2, device="cpu")
    assert not (out / "network0" / "checkpoints").exists()


@pytest.mark.slow  # two trainings beside each other
def test_calls_side_by_side_share_data_and_tracked_run(
    config: RunConfig, tmp_path: Path
) -> None:
    values = config.model_dump(mode="json")
    values["training"]["steps"] = 2
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(values))
    out = tmp_path / "study" / "networks"
    call = [sys.executable, "-m", "medseg", "train", str(tmp_path / "config.yaml")]
    call += ["-o", str(out), "--device", "cpu", "--networks", "2"]
    started = [
        subprocess.Popen([*call, "--only", str(number)], stderr=subprocess.PIPE)
        for number in range(2)
    ]
    for process in started:
        _, errors = process.communicate()
        assert process.returncode == 0, errors.decode()
    assert len(list((tmp_path / "study" / "stores").glob("*/store.json"))) == 1
    client = connect(default_tracking_uri(out.parent))
    (experiment,) = (e for e in client.search_experiments() if e.name != "Default")
    runs = client.search_runs([experiment.experiment_id])
    (parent,) = (run for run in runs if "mlflow.parentRunId" not in run.data.tags)
    nested = [run.data.tags["mlflow.parentRunId"] for run in runs if run != parent]
    assert nested == [parent.info.run_id] * 2


def test_structures_need_no_choice(tmp_path: Path, tiny_study: Path) -> None:
    values = {
        "data": tiny_study,
        "prepare": {"num_folds": 3},
        "training": {"steps": 2, "validation_cases": 1},
        "inference": {"engine": "torch", "precision": "float32"},
        "tracking": {"enabled": False},
    }
    out = tmp_path / "networks"
    found = train_ensemble(
        RunConfig.model_validate(values), out, networks=2, device="cpu"
    )
    assert found.evaluation is not None
    assert found.evaluation.num_scored == len(found.store.split(0)[1])
    assert load_ensemble(out).combined.decoding is None
