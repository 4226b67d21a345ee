"""Which store `medseg ui` shows, and with what command."""

import json
import sys

import pytest

from medseg.errors import MissingFileError, TrackingError
from medseg.tracking import open_ui, show_ui
from medseg.tracking.runs_table import table_address
from medseg.tracking.ui import find_store, ui_command


@pytest.mark.parametrize("place", ["", "one", "mlflow.db"])
def test_store_is_found_from_folder_run_or_file(runs, place):
    (runs / "one").mkdir()
    assert find_store(runs / place) == f"sqlite:///{runs / 'mlflow.db'}"


def test_missing_store_says_what_to_do(tmp_path):
    (tmp_path / "run").mkdir()
    with pytest.raises(MissingFileError, match=r"no mlflow\.db here or beside it"):
        find_store(tmp_path / "run")


def test_pages_are_for_this_machine_only(runs):
    command = ui_command(find_store(runs), port=5050)
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert command[command.index("--port") + 1] == "5050"
    assert (runs / "mlruns").as_uri() in command


def test_a_named_server_is_not_started_again():
    ui = open_ui("https://me:secret@tracking.example:5000")
    assert (ui.address, ui.process) == ("https://tracking.example:5000", None)
    ui.close()


def test_address_is_said(heard):
    show_ui("https://me:secret@tracking.example:5000", progress=heard)
    assert "open https://tracking.example:5000 in a browser" in heard.said[0]


def address(client, place) -> str:
    return table_address(client, place, is_ours=True)


def test_the_table_of_the_latest_run_is_opened(start, client, runs):
    for name in ("one", "two"):
        start(name, experiment=f"study {name}").finish("FINISHED")
    ids = [client.get_experiment_by_name(f"study {n}").experiment_id for n in ONE_TWO]
    query = "workflowType=machine_learning&viewStateShareKey=medseg"
    assert address(client, runs) == f"#/experiments/{ids[1]}/runs?{query}"
    assert address(client, runs / "one") == f"#/experiments/{ids[0]}/runs?{query}"


ONE_TWO = ("one", "two")


def test_an_empty_store_opens_the_list(client, runs):
    assert address(client, runs) == "#/experiments?workflowType=machine_learning"


def test_no_default_experiment_is_left_unless_it_is_used(start, client, runs):
    start().finish("FINISHED")
    assert [e.name for e in client.search_experiments()] == ["hippocampus"]
    client.restore_experiment("0")  # as in a store of an earlier version
    address(client, runs)
    assert [e.name for e in client.search_experiments()] == ["hippocampus"]
    client.restore_experiment("0")
    client.create_run("0")
    address(client, runs)
    assert {e.name for e in client.search_experiments()} == {"hippocampus", "Default"}


def test_the_view_shows_scores_and_what_was_varied(start, client, runs):
    start().finish("FINISHED")
    tags = client.get_experiment_by_name("hippocampus").tags
    assert tags["mlflow.experimentKind"] == "custom_model_development"
    view = json.loads(tags["mlflow.sharedViewState.medseg"])
    assert view["selectedColumns"][:5] == [
        "metrics.`dice`",
        "metrics.`nsd`",
        "metrics.`hd95`",
        "metrics.`n`",
        "tags.`loss`",
    ]
    assert view["orderByKey"] == "metrics.`dice`"  # sorted, nested runs are rows


def test_an_experiment_of_an_earlier_version_gets_the_view(start, client, runs):
    start().finish("FINISHED")
    experiment = client.get_experiment_by_name("hippocampus").experiment_id
    client.set_experiment_tag(experiment, "mlflow.sharedViewState.medseg", "{}")
    table_address(client, runs, is_ours=False)
    tag = client.get_experiment(experiment).tags["mlflow.sharedViewState.medseg"]
    assert tag == "{}"  # a named server is left as it is
    address(client, runs)
    tag = client.get_experiment(experiment).tags["mlflow.sharedViewState.medseg"]
    assert "metrics.`dice`" in tag


def test_a_server_that_does_not_start_says_why(runs, monkeypatch):
    monkeypatch.setattr(
        "medseg.tracking.ui.ui_command",
        lambda *_, **__: [sys.executable, "-c", "raise SystemExit('no room')"],
    )
    with pytest.raises(TrackingError, match="server did not start: no room"):
        open_ui(runs)
