"""Runs as MLflow's own client sees them."""

import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest

from medseg.tracking import MlflowRun
from medseg.tracking.params import MAX_VALUE
from medseg.training.logger import NullLogger, RunLogger


def curve(client, run: MlflowRun, name: str) -> list[tuple[int, float]]:
    points = client.get_metric_history(run.run_id, name)
    return sorted((point.step, point.value) for point in points)


def artifacts(client, run: MlflowRun, folder: str | None = None) -> list[str]:
    return sorted(f.path for f in client.list_artifacts(run.run_id, folder))


def test_both_loggers_keep_the_protocol(start):
    loggers: list[RunLogger] = [NullLogger(), start()]
    for logger in loggers:
        logger.log_params({"a": 1})
        logger.finish("FINISHED")
    assert loggers[0].run_id is None


def test_a_run_arrives_whole(start, client):
    run = start()
    run.log_params({"loss.name": "dice_ce", "steps": 10, "ema": True})
    run.set_tags({"commit": "abc"})
    for step in range(3):
        run.log_metrics({"loss": 1.0 - step, "dice/anterior": step / 2}, step=step)
    run.finish("FINISHED")
    seen = client.get_run(run.run_id)
    assert seen.info.status == "FINISHED"
    assert seen.info.run_name == "one"
    assert seen.info.end_time >= seen.info.start_time
    assert seen.data.params == {"loss.name": "dice_ce", "steps": "10", "ema": "True"}
    assert seen.data.tags["commit"] == "abc"
    assert curve(client, run, "loss") == [(0, 1.0), (1, 0.0), (2, -1.0)]
    assert curve(client, run, "dice/anterior") == [(0, 0.0), (1, 0.5), (2, 1.0)]


def test_experiment_is_found_again(start, client):
    first, second = start("one"), start("two")
    for run in (first, second):
        run.finish("FINISHED")
    ids = {client.get_run(run.run_id).info.experiment_id for run in (first, second)}
    assert len(ids) == 1
    assert client.get_experiment(ids.pop()).name == "hippocampus"


def test_files_lie_beside_the_database(start, client, runs):
    run = start()
    (runs / "one" / "model").mkdir()
    (runs / "one" / "model" / "card.md").write_text("card")
    (runs / "one" / "config.yaml").write_text("a: 1")
    run.log_artifact(runs / "one" / "config.yaml")
    run.log_artifact(runs / "one" / "config.yaml", folder="settings")
    run.log_artifact(runs / "one" / "model")
    run.log_artifact(runs / "one" / "model", folder="packed")
    run.finish("FINISHED")
    assert artifacts(client, run) == ["config.yaml", "model", "packed", "settings"]
    assert artifacts(client, run, "model") == ["model/card.md"]
    assert artifacts(client, run, "packed") == ["packed/card.md"]
    assert artifacts(client, run, "settings") == ["settings/config.yaml"]
    assert list((runs / "mlruns").rglob("card.md"))


def test_temporary_files_may_be_deleted_at_once(start, client, runs):
    run = start()
    picture = runs / "elsewhere.png"
    picture.write_bytes(b"png")
    run.log_artifact(picture, folder="pictures")
    picture.unlink()
    run.finish("FINISHED")
    assert artifacts(client, run, "pictures") == ["pictures/elsewhere.png"]
    assert not list((runs / "one" / "tracking" / "files").glob("*"))


def test_missing_file_is_a_warning(start, heard, runs):
    run = start()
    run.log_artifact(runs / "nothing.png")
    run.finish("FINISHED")
    assert "nothing.png: no such file or folder" in heard.warnings[0]


def test_nothing_waits_after_a_run(start, runs):
    run = start()
    run.log_metrics({"loss": 1.0}, step=0)
    run.finish("FINISHED")
    folder = runs / "one" / "tracking"
    assert (folder / "journal.jsonl").read_text() == ""
    assert json.loads((folder / "state.json").read_text())["run_id"] == run.run_id


def test_nested_runs_know_their_parent(start, client):
    parent = start("study")
    child = start("fold0", parent_run_id=parent.run_id)
    by_folder = start("fold1", parent_folder=Path(parent.folder))
    for run in (child, by_folder, parent):
        run.finish("FINISHED")
    for run in (child, by_folder):
        tags = client.get_run(run.run_id).data.tags
        assert tags["mlflow.parentRunId"] == parent.run_id


def test_an_error_marks_the_run_failed(start, client):
    with pytest.raises(ValueError, match="boom"), start() as run:
        raise ValueError("boom")
    assert client.get_run(run.run_id).info.status == "FAILED"


def test_an_interrupt_marks_the_run_killed(start, client):
    with pytest.raises(KeyboardInterrupt), start() as run:
        raise KeyboardInterrupt
    assert client.get_run(run.run_id).info.status == "KILLED"


def test_the_first_end_counts(start, client):
    with start() as run:
        run.finish("KILLED")
    assert client.get_run(run.run_id).info.status == "KILLED"


SCRIPT = """
import os, sys
from pathlib import Path
from medseg.tracking import open_mlflow_run
run = open_mlflow_run(
    tracking_uri=None, experiment="e", run_name="r", folder=Path(sys.argv[1])
)
run.log_metrics({"loss": 1.0}, step=0)
print(run.run_id, flush=True)
if sys.argv[2] == "exit":
    sys.exit(3)
os.kill(os.getpid(), 9)
"""


def run_script(folder: Path, end: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder), end],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip()


def test_a_process_that_ends_early_leaves_a_failed_run(client, runs):
    run_id = run_script(runs / "one", "exit")
    seen = client.get_run(run_id)
    assert seen.info.status == "FAILED"
    assert seen.data.metrics == {"loss": 1.0}


def test_a_killed_process_loses_nothing(start, client, runs):
    run_id = run_script(runs / "one", "kill")
    assert client.get_run(run_id).info.status == "RUNNING"
    resumed = start(experiment="e", run_id=run_id)
    resumed.log_metrics({"loss": 0.5}, step=1)
    resumed.finish("FINISHED")
    assert resumed.run_id == run_id
    assert curve(client, resumed, "loss") == [(0, 1.0), (1, 0.5)]


@pytest.mark.parametrize("by", ["id", "folder"])
def test_resuming_continues_the_same_run(start, client, by):
    first = start()
    first.log_params({"budget": "15m", "seed": 0})
    first.log_metrics({"loss": 1.0}, step=0)
    first.finish("KILLED")
    how = {"run_id": first.run_id} if by == "id" else {"resume": True}
    second = start(**how)
    assert client.get_run(first.run_id).info.status == "RUNNING"
    second.log_params({"budget": "60m", "seed": 0})
    second.log_metrics({"loss": 0.5}, step=1)
    second.finish("FINISHED")
    seen = client.get_run(first.run_id)
    assert second.run_id == first.run_id
    assert seen.info.status == "FINISHED"
    assert seen.data.params["budget"] == "15m"
    assert seen.data.tags["changed.budget"] == "60m"
    assert "changed.seed" not in seen.data.tags
    assert curve(client, second, "loss") == [(0, 1.0), (1, 0.5)]


def test_starting_anew_in_a_folder_makes_another_run(start):
    first = start()
    first.finish("FINISHED")
    second = start()
    second.finish("FINISHED")
    assert first.run_id != second.run_id


def test_resuming_a_deleted_run_restores_it(start, client):
    first = start()
    first.finish("FINISHED")
    client.delete_run(first.run_id)
    second = start(resume=True)
    second.finish("FINISHED")
    assert client.get_run(first.run_id).info.lifecycle_stage == "active"


def test_deleted_experiment_is_restored(start, client):
    first = start()
    first.finish("FINISHED")
    client.delete_experiment(client.get_run(first.run_id).info.experiment_id)
    second = start("two")
    second.finish("FINISHED")
    assert client.get_run(second.run_id).info.status == "FINISHED"


def test_resuming_in_another_store_starts_a_run_there(start, client):
    run = start(run_id="0123456789abcdef0123456789abcdef")
    run.finish("FINISHED")
    assert client.get_run(run.run_id).info.status == "FINISHED"


def test_odd_names_and_long_values_are_made_to_fit(start, client):
    run = start()
    run.log_params({"plan.labels[left horn]": "x" * 9000})
    run.log_metrics({"dice (left)": 0.5}, step=0)
    run.set_tags({"note": "y" * 9000})
    run.finish("FINISHED")
    seen = client.get_run(run.run_id)
    (param,) = (name for name in seen.data.params if name.startswith("plan.labels"))
    assert re.fullmatch(r"plan\.labels_left horn__[0-9a-f]{4}", param)
    assert len(seen.data.params[param]) == MAX_VALUE
    ((metric, value),) = seen.data.metrics.items()
    assert re.fullmatch(r"dice _left__[0-9a-f]{4}", metric)
    assert value == 0.5
    assert len(seen.data.tags["note"]) == MAX_VALUE


def test_many_values_go_in_several_calls(start, client):
    run = start()
    run.log_params({f"p{n}": n for n in range(150)})
    for step in range(40):
        run.log_metrics({f"m{n}": float(step) for n in range(60)}, step=step)
    run.finish("FINISHED")
    assert len(client.get_run(run.run_id).data.params) == 150
    assert curve(client, run, "m59") == [(step, float(step)) for step in range(40)]


def test_values_that_are_no_numbers_are_kept(start, client):
    run = start()
    run.log_metrics({"loss": math.nan, "hd95": math.inf}, step=0)
    run.finish("FINISHED")
    assert math.isnan(curve(client, run, "loss")[0][1])
    assert curve(client, run, "hd95")[0][1] > 1e300


def test_full_disk_is_a_warning(start, heard, monkeypatch):
    run = start()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(run._queue), "append", full)
    run.log_metrics({"loss": 1.0}, step=0)
    run.log_metrics({"loss": 1.0}, step=1)
    monkeypatch.undo()
    run.finish("FINISHED")
    assert [w for w in heard.warnings if "No space" in w] == heard.warnings[:1]


def test_environment_names_the_store(start, client, monkeypatch, tmp_path, runs):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{runs / 'mlflow.db'}")
    run = start("deep/inside/one")
    run.finish("FINISHED")
    assert client.get_run(run.run_id).info.status == "FINISHED"
    assert not (runs / "deep" / "inside" / "mlflow.db").exists()
