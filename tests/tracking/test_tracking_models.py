"""Models, data sets and tables of runs, as MLflow's own client sees them."""

import json
import threading
import time
from dataclasses import replace
from pathlib import Path

import mlflow
import pandas as pd
import pytest
import yaml

from medseg.errors import MissingFileError
from medseg.tracking import default_tracking_uri, replay_queue, uploader
from medseg.tracking.delivery import RefusedEntryError, deliver
from medseg.tracking.fetch import fetch_model
from medseg.tracking.logged_model import LINK_FROM
from medseg.tracking.system_metrics import SystemMetrics
from medseg.training.logger import (
    NullLogger,
    SeveralLoggers,
    TrackedDataset,
    TrackedModel,
)

HELD_OUT = TrackedDataset("hippocampus", "0f3a" * 4, "validation", 3, 2, "ab" * 32)
ABOUT = TrackedModel(("t1", "t2"), {"anterior": 1}, 20, {"loss": "dice_ce"})


@pytest.fixture
def folder(runs: Path) -> Path:
    """A folder with the names of a model folder, one file large enough for a link."""
    model = runs / "one" / "model"
    model.mkdir(parents=True)
    (model / "model.yaml").write_text("format: 1\n")
    (model / "weights.safetensors").write_bytes(b"w" * LINK_FROM)
    return model


def test_a_model_is_one_of_mlflow(start, client, folder):
    run = start()
    run.log_dataset(HELD_OUT)
    run.log_model(folder, ABOUT)
    run.log_scores({"dice": 0.5}, step=0, dataset=HELD_OUT)
    run.finish("FINISHED")
    seen = client.get_run(run.run_id)
    (output,) = seen.outputs.model_outputs
    model = client.get_logged_model(output.model_id)
    assert (model.name, model.status, model.source_run_id) == (
        "model",
        "READY",
        run.run_id,
    )
    assert model.params == {"loss": "dice_ce"}
    (metric,) = model.metrics
    assert (metric.key, metric.value) == ("dice", 0.5)
    assert (metric.dataset_name, metric.dataset_digest) == (
        HELD_OUT.name,
        HELD_OUT.digest,
    )
    assert seen.data.metrics == {"dice": 0.5}
    names = {f.path for f in client.list_logged_model_artifacts(model.model_id)}
    assert names == {
        "MLmodel",
        "requirements.txt",
        "python_env.yaml",
        "model.yaml",
        "weights.safetensors",
    }
    assert not client.list_artifacts(run.run_id)  # kept once, as the model


def test_nothing_of_it_is_pickled_and_the_signature_names_the_channels(
    start, client, folder
):
    run = start()
    run.log_model(folder, ABOUT)
    run.finish("FINISHED")
    place = fetch_model(
        f"runs:/{run.run_id}",
        tracking_uri=default_tracking_uri(Path(run.folder).parent),
    )
    assert not list(place.rglob("*.pkl"))
    held = yaml.safe_load((place / "MLmodel").read_text())
    flavour = held["flavors"]["python_function"]
    assert flavour["loader_module"] == "medseg.serving.pyfunc"
    assert "python_model" not in flavour
    inputs = json.loads(held["signature"]["inputs"])
    assert [column["name"] for column in inputs] == ["image", "t1", "t2"]
    assert not any(column["required"] for column in inputs)
    outputs = [c["name"] for c in json.loads(held["signature"]["outputs"])]
    assert outputs[:4] == ["name", "status", "label_map", "anterior_ml"]


def test_weights_are_on_disk_once_and_survive_new_ones(start, client, folder):
    run = start()
    run.log_model(folder, ABOUT)
    run.finish("FINISHED")
    store = default_tracking_uri(folder.parents[1])
    kept = fetch_model(f"runs:/{run.run_id}/model", tracking_uri=store)
    assert (kept / "weights.safetensors").samefile(folder / "weights.safetensors")
    new = folder / "new"
    new.write_bytes(b"x")
    new.replace(folder / "weights.safetensors")  # as a model folder is written
    assert (kept / "weights.safetensors").stat().st_size == LINK_FROM


@pytest.mark.parametrize("address", ["models:/{id}", "models:/m/1", "models:/m@best"])
def test_models_are_found_by_id_version_and_alias(
    start, client, folder, address, monkeypatch
):
    run = start()
    run.log_model(folder, ABOUT)
    run.finish("FINISHED")
    store = default_tracking_uri(folder.parents[1])
    model_id = client.get_run(run.run_id).outputs.model_outputs[0].model_id
    client.create_registered_model("m")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)  # MLflow's registry asks it
    version = client.create_model_version(
        "m", f"models:/{model_id}", run.run_id, model_id=model_id
    )
    client.set_registered_model_alias("m", "best", version.version)
    found = fetch_model(address.format(id=model_id), tracking_uri=store)
    assert (found / "model.yaml").read_text() == "format: 1\n"
    for wrong in ("models:/m@worst", "models:/m/9", "models:/none/1", "models:/m-0"):
        with pytest.raises(
            MissingFileError, match=f"{wrong}: no model of this address"
        ):
            fetch_model(wrong, tracking_uri=store)


ENTRY = {
    "n": 9,
    "kind": "model",
    "token": "t",
    "channels": ["t1"],
    "labels": {"a": 1},
    "step": 1,
    "params": {},
}


def test_a_model_that_is_sent_twice_is_there_once(start, client, folder):
    run = start()
    run.log_model(folder, ABOUT)
    run.finish("FINISHED")
    ids = {deliver(client, run.run_id, [ENTRY], file=folder) for _ in range(2)}
    assert len(ids) == 1
    outputs = client.get_run(run.run_id).outputs.model_outputs
    assert len(outputs) == len({output.model_id for output in outputs}) == 2


def test_a_store_that_keeps_no_models_gets_files(start, client, folder, monkeypatch):
    """As a server before MLflow 3."""

    error = mlflow.MlflowException("404")
    error.error_code = "ENDPOINT_NOT_FOUND"

    def missing(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(mlflow.MlflowClient, "search_logged_models", missing)
    run = start()
    run.log_model(folder, ABOUT)
    run.log_scores({"dice": 0.5}, step=0, dataset=HELD_OUT)
    run.finish("FINISHED")
    monkeypatch.undo()
    names = {f.path for f in client.list_artifacts(run.run_id, "model")}
    assert {"model/MLmodel", "model/model.yaml"} < names
    assert client.get_run(run.run_id).data.metrics == {"dice": 0.5}


def test_data_sets_are_inputs_that_name_no_case_and_no_place(start, client):
    run = start()
    for dataset in (replace(HELD_OUT, role="training", digest="1"), HELD_OUT):
        run.log_dataset(dataset)
    run.finish("FINISHED")
    seen = client.get_run(run.run_id).inputs.dataset_inputs
    assert {d.dataset.digest: d.tags[0].value for d in seen} == {
        "1": "training",
        HELD_OUT.digest: "validation",
    }
    assert json.loads(seen[0].dataset.profile) == {"num_cases": 3, "num_patients": 2}
    assert json.loads(seen[0].dataset.source) == {
        "tags": {"manifest_sha256": HELD_OUT.manifest}
    }


def test_tables_are_tables_and_not_twice(start, client, runs, monkeypatch):
    table = pd.DataFrame({"case_id": ["a", "b"], "dice": [0.5, 1 / 3]})
    run = start()
    table.to_csv(runs / "one" / "cases.csv", index=False)
    for _ in range(2):
        run.log_table(runs / "one" / "cases.csv")
    run.finish("FINISHED")
    seen = client.get_run(run.run_id)
    tag = json.loads(seen.data.tags["mlflow.loggedArtifacts"])
    assert tag == [{"path": "cases.json", "type": "table"}]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", default_tracking_uri(runs))
    mlflow.set_tracking_uri(default_tracking_uri(runs))
    found = client.load_table(seen.info.experiment_id, "cases.json", [run.run_id])
    mlflow.set_tracking_uri(None)
    pd.testing.assert_frame_equal(found, table)


def test_all_of_it_waits_while_the_store_is_away(start, client, folder, monkeypatch):
    def away(*_: object, **__: object) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr(uploader, "deliver", away)
    run = start()
    run.log_dataset(HELD_OUT)
    run.log_model(folder, ABOUT)
    run.log_scores({"dice": 0.5}, step=0, dataset=HELD_OUT)
    run.finish("FINISHED")
    assert len(run._queue) == 5
    monkeypatch.undo()
    assert replay_queue(folder.parent) == 0
    seen = client.get_run(run.run_id)
    model = client.get_logged_model(seen.outputs.model_outputs[0].model_id)
    assert [m.key for m in model.metrics] == ["dice"]
    assert len(seen.inputs.dataset_inputs) == 1


def test_a_model_folder_that_went_away_is_refused_for_good(start, client, runs):
    run = start()
    run.finish("FINISHED")
    with pytest.raises(RefusedEntryError, match="no longer there"):
        deliver(client, run.run_id, [{**ENTRY, "n": 1}], file=runs / "gone")


def test_load_is_measured_and_told():
    told: list[dict[str, float]] = []
    heard = threading.Event()

    def tell(values, seconds: int) -> None:
        told.append({**values, "seconds": seconds})
        heard.set()

    gauges = SystemMetrics(tell, started=time.time() - 100, seconds=0.01)
    assert heard.wait(60)
    gauges.stop()
    assert 0 <= told[0]["system/cpu_utilization_percentage"] <= 100
    assert told[0]["seconds"] >= 100  # a resumed run goes on


def test_load_is_kept_only_where_it_is_asked_for(start):
    def watched() -> bool:
        names = [thread.name for thread in threading.enumerate()]
        return "medseg-system-metrics" in names

    start("plain").finish("FINISHED")
    assert not watched()
    run = start("watched", system_metrics=True)
    assert watched()
    run.finish("FINISHED")
    assert not watched()


class Told(NullLogger):
    def __init__(self) -> None:
        self.calls: list[str] = []

    def log_artifact(self, path: Path, *, folder: str = "") -> None:
        self.calls.append(f"{path.name} in {folder}")

    def log_metrics(self, metrics, *, step: int) -> None:
        self.calls.append(f"{dict(metrics)}")


def test_other_trackers_take_models_as_files_and_scores_as_metrics():
    told = Told()
    loggers = SeveralLoggers(NullLogger(), {"t": told}, warn=print)
    loggers.log_dataset(HELD_OUT)
    loggers.log_model(Path("run/model"), ABOUT)
    loggers.log_scores({"dice": 0.5}, step=0, dataset=HELD_OUT)
    loggers.log_table(Path("cases.csv"))
    assert told.calls == ["model in model", "{'dice': 0.5}"]
