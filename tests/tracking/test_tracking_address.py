"""Where the store is, and what may be shown of its address."""

import pytest

from medseg.tracking import default_tracking_uri, resolve_tracking_uri
from medseg.tracking.address import (
    artifact_location,
    database_file,
    without_credentials,
)


def test_default_lies_beside_the_run(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    uri = resolve_tracking_uri(None, folder=tmp_path / "run")
    assert uri == default_tracking_uri(tmp_path)
    assert database_file(uri) == tmp_path / "mlflow.db"
    assert artifact_location(uri) == (tmp_path / "mlruns").as_uri()


def test_what_is_named_comes_first(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://env:1")
    assert resolve_tracking_uri("http://arg:2", folder=tmp_path) == "http://arg:2"
    assert resolve_tracking_uri(None, folder=tmp_path) == "http://env:1"


def test_servers_choose_where_files_go():
    assert artifact_location("http://server:5000") is None


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("https://me:secret@host:5000/path", "https://host:5000/path"),
        ("https://host/path", "https://host/path"),
        ("sqlite:////data/mlflow.db", "sqlite:////data/mlflow.db"),
    ],
)
def test_credentials_are_not_shown(uri, shown):
    assert without_credentials(uri) == shown
