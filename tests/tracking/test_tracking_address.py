"""Where the store is, and what may be shown of its address."""

import pytest

from medseg.console import Console
from medseg.errors import SettingsError
from medseg.runs.config import RunConfig, TrackingSettings, dump_config, read_config
from medseg.runs.train import train
from medseg.studies.nested_runs import on_store
from medseg.tracking import default_tracking_uri, resolve_tracking_uri
from medseg.tracking.address import (
    artifact_location,
    database_file,
    scrubbed,
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
        ("http://host/x@y", "http://host/x@y"),
        ("http://host:5000/x@y", "http://host:5000/x@y"),
        ("http://[::1]:5000/x@y", "http://[::1]:5000/x@y"),
        ("http://me:sec/ret@host/path", "http://host/path"),
        ("http://me:s?c#t@host/path", "http://host/path"),
        ("http://me:sec@ret@host", "http://host"),
        ("http://host/?token=secret", "http://host/"),
        ("http://host/p?secret", "http://host/p"),
        ("postgresql://me:secret@host/db", "postgresql://host/db"),
        ("postgresql+psycopg2://host/db?password=secret", "postgresql+psycopg2://host/db"),
        ("postgresql://h/db?sslmode=require&sslpassword=secret", "postgresql://h/db?sslmode=require"),
        ("sqlite:///x.db?timeout=5", "sqlite:///x.db?timeout=5"),
        ("databricks://profile", "databricks://profile"),
        ("mlruns", "mlruns"),
    ],
)  # fmt: skip
def test_credentials_are_not_shown(uri, shown):
    assert without_credentials(uri) == shown
    assert without_credentials(shown) == shown


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("http://me:s/cret@host", "cannot reach http://me:s/cret@host/api"),
        ("http://host/?token=s%2Fcret", "retries exceeded with url: /?token=s/cret"),
        ("http://host/?token=s/cret", "with url: /?token=s%2Fcret/api"),
        ("http://host/?s/cret", "url: /?s/cret"),
        ("postgresql://me:s/cret@host/db", "password s/cret of user me is wrong"),
    ],
)  # fmt: skip
def test_no_message_repeats_a_secret(uri, said):
    text = scrubbed(said, uri)
    assert "cret" not in text
    assert len(text) > 8


SECRET = "PassW0rd"
GUARDED = [
    f"http://me:{SECRET}@host",
    f"http://me:{SECRET}/x@host",
    f"https://host/?token={SECRET}",
    f"postgresql://me:{SECRET}@host/db",
    f"mysql://host/db?ssl_key={SECRET}",
]


@pytest.mark.parametrize("uri", GUARDED)
def test_a_secret_in_a_configuration_is_refused_and_not_repeated(tmp_path, uri):
    path = tmp_path / "c.yaml"
    path.write_text(f"tracking:\n  uri: '{uri}'\n")
    (tmp_path / "empty.yaml").write_text("fold: 0\n")
    for config, overrides in ((path, []), ("empty", [f"tracking.uri={uri}"])):
        config = path if config is path else tmp_path / "empty.yaml"
        with pytest.raises(SettingsError, match="MLFLOW_TRACKING_PASSWORD") as caught:
            read_config(config, overrides)
        assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "uri", ["foo://host", "htp://me:PassW0rd@host", "sqllite:///x"]
)
def test_a_scheme_that_does_not_exist_is_refused(tmp_path, monkeypatch, uri):
    (tmp_path / "c.yaml").write_text(f"tracking: {{uri: '{uri}'}}\n")
    with pytest.raises(SettingsError, match="knows no address that begins") as caught:
        read_config(tmp_path / "c.yaml", [])
    assert SECRET not in str(caught.value)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(SettingsError, match="knows no address that begins") as caught:
        train(RunConfig(data=tmp_path), tmp_path / "run", device="cpu")
    assert SECRET not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "uri",
    ["http://host:5000", "file:///tmp/x", "mlruns", "sqlite:///x.db", "databricks",
     "postgresql+psycopg2://host/db", "databricks://profile"],
)  # fmt: skip
def test_addresses_that_mlflow_knows_are_taken(uri):
    assert TrackingSettings(uri=uri).uri == uri


@pytest.mark.parametrize("uri", GUARDED)
def test_a_study_leaves_the_environment_s_address_there(
    tmp_path, monkeypatch, tiny_store, uri
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    config = on_store(RunConfig(data=tmp_path), tiny_store, tmp_path / "out")
    assert SECRET not in dump_config(config)
    assert config.tracking.uri is None


def test_a_run_keeps_no_secret_of_the_environment(
    tmp_path, monkeypatch, tiny_store, capfd
):
    server = f"http://me:{SECRET}@127.0.0.1:9/?token={SECRET}2"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    values = {
        "data": tiny_store.folder,
        "fold": None,
        "plan": {
            "patch_size": [16, 16, 16],
            "batch_size": 2,
            "network": {"name": "unet", "channels": [4, 8], "strides": [1, 2]},
        },
        "training": {"steps": 1, "precision": "float32"},
    }
    console = Console(quiet=False)
    console.log_to(tmp_path / "run" / "run.log")
    config = RunConfig.model_validate(values)
    train(config, tmp_path / "run", device="cpu", progress=console)
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert (tmp_path / "run" / "tracking").is_dir()
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []
    shown = "".join(capfd.readouterr())
    assert "cannot be reached" in shown
    assert SECRET not in shown
