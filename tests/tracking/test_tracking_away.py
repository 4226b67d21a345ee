"""A store that is away: training goes on, and everything arrives later, once."""

import json
import socket

import pytest

from medseg.errors import MissingFileError
from medseg.tracking import replay_queue
from medseg.tracking.offline_queue import OfflineQueue, RunState


def nobody_listens() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://user:secret@127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture(autouse=True)
def _no_retries(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


def state(**changes) -> RunState:
    values = {
        "token": "t",
        "tracking_uri": "sqlite:///none.db",
        "experiment": "e",
        "run_name": "r",
        "started_ms": 1,
    }
    return RunState(**{**values, **changes})


def test_everything_waits_and_arrives_once(start, client, runs, heard):
    run = start(tracking_uri=nobody_listens())
    (runs / "one" / "config.yaml").write_text("a: 1")
    run.log_params({"seed": 0})
    run.log_artifact(runs / "one" / "config.yaml")
    for step in range(5):
        run.log_metrics({"loss": 1.0 / (step + 1)}, step=step)
    run.finish("FINISHED")
    assert run.run_id is None
    assert "cannot be reached" in heard.warnings[0]
    assert "entries have not reached" in heard.warnings[1]
    assert len(heard.warnings) == 2

    store = f"sqlite:///{runs / 'mlflow.db'}"
    assert replay_queue(runs / "one", tracking_uri=store) == 0
    assert replay_queue(runs / "one", tracking_uri=store) == 0
    experiment = client.get_experiment_by_name("hippocampus")
    (seen,) = client.search_runs([experiment.experiment_id])
    assert seen.info.status == "FINISHED"
    assert seen.data.params == {"seed": "0"}
    history = client.get_metric_history(seen.info.run_id, "loss")
    assert sorted(point.step for point in history) == [0, 1, 2, 3, 4]
    assert [f.path for f in client.list_artifacts(seen.info.run_id)] == ["config.yaml"]


def test_no_credentials_on_disk_or_screen(start, runs, heard):
    start(tracking_uri=nobody_listens()).finish("FINISHED")
    kept = [p.read_text() for p in (runs / "one").rglob("*") if p.is_file()]
    assert not [text for text in [*kept, *heard.warnings] if "secret" in text]


def test_resuming_sends_what_waited(start, client, runs):
    away = start(tracking_uri=nobody_listens())
    away.log_metrics({"loss": 1.0}, step=0)
    away.finish("KILLED")
    back = start(resume=True)
    back.log_metrics({"loss": 0.5}, step=1)
    back.finish("FINISHED")
    history = client.get_metric_history(back.run_id, "loss")
    assert sorted(point.step for point in history) == [0, 1]


def test_new_run_in_the_folder_keeps_what_waited(start, runs):
    away = start(tracking_uri=nobody_listens())
    away.log_metrics({"loss": 1.0}, step=0)
    away.finish("FAILED")
    start().finish("FINISHED")
    (kept,) = runs.glob("one/tracking-*/journal.jsonl")
    assert '"loss": 1.0' in kept.read_text()


def test_sending_twice_changes_nothing(start, client, runs):
    run = start()
    run.log_metrics({"loss": 1.0}, step=0)
    run.set_tags({"a": "b"})
    kept = (runs / "one" / "tracking" / "state.json").read_text()
    written = (runs / "one" / "tracking" / "journal.jsonl").read_text()
    run.finish("FINISHED")
    (runs / "one" / "tracking" / "state.json").write_text(kept)
    (runs / "one" / "tracking" / "journal.jsonl").write_text(written)
    assert replay_queue(runs / "one") == 0
    assert len(client.get_metric_history(run.run_id, "loss")) == 1


def test_answer_lost_on_creation_makes_no_second_run(start, client, runs):
    run = start()
    run.finish("FINISHED")
    path = runs / "one" / "tracking" / "state.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "run_id": None}))
    again = start(resume=True)
    again.finish("FINISHED")
    assert again.run_id == run.run_id


def test_what_the_store_refuses_is_set_aside(start, client, runs, heard):
    run = start()
    path = runs / "one" / "gone.txt"
    path.write_text("x")
    run.log_artifact(path)
    path.unlink()
    run.log_metrics({"loss": 1.0}, step=0)
    run.finish("FINISHED")
    refused = (runs / "one" / "tracking" / "refused.jsonl").read_text()
    assert "no longer there" in json.loads(refused)["reason"]
    assert "artifact not taken" in heard.warnings[0]
    assert client.get_run(run.run_id).data.metrics == {"loss": 1.0}


def test_a_torn_last_line_is_dropped(tmp_path):
    queue = OfflineQueue(tmp_path, state())
    queue.append("tags", values={"a": "b"})
    path = tmp_path / "tracking" / "journal.jsonl"
    path.write_text(path.read_text() + '{"n": 2, "ki')
    again = OfflineQueue(tmp_path, queue.state)
    again.append("tags", values={"c": "d"})
    assert [e["n"] for e in again.waiting(9)] == [1, 2]
    assert [e["n"] for e in OfflineQueue(tmp_path, again.state).waiting(9)] == [1, 2]


def test_arrived_entries_do_not_come_back(tmp_path):
    queue = OfflineQueue(tmp_path, state())
    for name in "abc":
        queue.append("tags", values={name: name})
    queue.arrived(queue.waiting(2))
    again = OfflineQueue(tmp_path, queue.state)
    assert [e["values"] for e in again.waiting(9)] == [{"c": "c"}]


def test_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(MissingFileError, match="no tracked run here"):
        replay_queue(tmp_path)


@pytest.mark.parametrize("kill_after", range(4))
def test_a_failing_store_in_between_loses_nothing(
    start, client, monkeypatch, kill_after
):
    from medseg.tracking import uploader as uploader

    real, calls = uploader.deliver, iter(range(1000))

    def flaky(*arguments, **named):
        if next(calls) == kill_after:
            raise ConnectionError("away")
        real(*arguments, **named)

    monkeypatch.setattr(uploader, "deliver", flaky)
    run = start()
    run.log_params({"seed": 0})
    run.log_metrics({"loss": 1.0}, step=0)
    run.set_tags({"a": "b"})
    run._uploader.send()
    run.finish("FINISHED")
    seen = client.get_run(run.run_id)
    assert (seen.data.params, seen.data.metrics) == ({"seed": "0"}, {"loss": 1.0})
    assert seen.info.status == "FINISHED"
