"""Which store `medseg ui` shows, and with what command."""

import pytest

from medseg.errors import MissingFileError
from medseg.tracking import open_ui, show_ui
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
