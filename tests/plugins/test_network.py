"""A user's network and loss: trained, continued, predicted with, exported."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from medseg import plugins
from medseg.conversion.export import export
from medseg.errors import ModelError, PluginError, PredictionError, TrainingError
from medseg.inference.exact_tiling import exact_axes
from medseg.io import read_label_map
from medseg.model import load_model
from medseg.networks.analysis.effective_field import measured_field
from medseg.networks.analysis.receptive_field import receptive_field
from medseg.networks.build import build_network
from medseg.networks.settings import PluginNetworkSettings
from medseg.prediction.predict import predict
from medseg.runs.config import RunConfig, read_config
from medseg.runs.train import train
from medseg.serving.pacs.worker import Worker, WorkerOptions
from medseg.store import Store

HERE = Path(__file__).parent
CONFIG = {
    "fold": None,
    "plan": {
        "patch_size": [16, 16, 16],
        "batch_size": 2,
        "network": {"name": "own_network.py:HalfNet", "args": {"width": 4}},
    },
    "training": {
        "schedule": {"name": "constant", "warmup": 0},
        "steps": 2,
        "precision": "float32",
        "loss": {"name": "own_loss.py:BrierLoss", "args": {"weight": 2.0}},
    },
    "tracking": {"enabled": False},
    "inference": {"engine": "torch", "precision": "float32"},
}


def configured(folder: Path, store: Store, **training: Any) -> RunConfig:
    """The configuration as a file beside the user's code."""
    folder.mkdir(exist_ok=True)
    for name in ("own_network.py", "own_loss.py"):
        (folder / name).write_text((HERE / name).read_text())
    values = {**CONFIG, "data": str(store.folder)}
    values["training"] = {**CONFIG["training"], **training}  # type: ignore[dict-item]
    (folder / "own.yaml").write_text(yaml.safe_dump(values))
    return read_config(folder / "own.yaml", [])


@pytest.fixture(scope="module")
def trained(tiny_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with the user's network, whose code was allowed when it was trained."""
    folder = tmp_path_factory.mktemp("plugins")
    config = configured(folder / "study", tiny_store, steps=1)
    train(config, folder / "run", device="cpu")
    return folder / "run"


def scan_of(store: Store) -> Path:
    (image,) = store.images(store.case_ids[0])
    return image


def test_a_run_with_a_network_and_loss_of_the_users(
    tmp_path: Path, tiny_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configured(tmp_path / "study", tiny_store)
    run = tmp_path / "run"
    train(config, run, device="cpu")
    record = yaml.safe_load((run / "plugins.yaml").read_text())
    network = record["plan.network"]
    assert network["name"] == "own_network.py:HalfNet"
    assert network["sha256"] == plugins.hash_file(HERE / "own_network.py")
    assert record["training.loss"]["file"] == "own_loss.py"
    description = yaml.safe_load((run / "model" / "model.yaml").read_text())
    assert description["plan"]["network"]["multiple_of"] == [2, 2, 2]
    assert str(tmp_path) not in (run / "model" / "model.yaml").read_text()
    assert not list((run / "model").glob("*.py"))

    (answer,) = predict(run, scan_of(tiny_store), tmp_path / "a", device="cpu")
    assert answer.status == "done", answer.reason
    assert export(run / "model", tmp_path / "onnx", to="onnx")

    monkeypatch.setattr(plugins, "_files", {})
    with pytest.raises(PluginError, match=r"--plugin PATH/own_network.py"):
        load_model(run)
    plugins.allow(HERE / "own_network.py")
    (again,) = predict(run, scan_of(tiny_store), tmp_path / "b", device="cpu")
    first, second = (
        read_label_map(next((tmp_path / name).rglob("*.nii.gz"))).voxels
        for name in "ab"
    )
    np.testing.assert_array_equal(first, second)
    assert again.status == "done"


def test_the_process_of_the_dicom_node_is_told_what_was_allowed(trained: Path) -> None:
    plugins.allow(HERE / "own_network.py")
    options = WorkerOptions(trained, device="cpu", plugins=plugins.allowance())
    allowed = Worker(options, time_limit=200)
    forbidden = Worker(WorkerOptions(trained, device="cpu"), time_limit=200)
    try:
        allowed.check()
        with pytest.raises(PredictionError, match=r"--plugin PATH/own_network\.py"):
            forbidden.check()
    finally:
        allowed.stop()
        forbidden.stop()


def test_a_run_is_continued_from_another_folder_to_the_same_weights(
    tmp_path: Path, tiny_store: Store
) -> None:
    whole = tmp_path / "whole"
    train(configured(tmp_path / "a", tiny_store, steps=4), whole, device="cpu")
    parts = tmp_path / "parts"
    train(configured(tmp_path / "a", tiny_store, steps=2), parts, device="cpu")
    moved = configured(tmp_path / "moved", tiny_store, steps=4)
    train(moved, parts, device="cpu", resume=True)
    assert load_model(whole).weights_sha256 == load_model(parts).weights_sha256
    other = configured(
        tmp_path / "a", tiny_store, steps=4, loss={"name": "own_loss.py:BrierLoss"}
    )
    with pytest.raises(TrainingError, match="other data, plan or"):
        train(other, parts, device="cpu", resume=True)


def test_code_that_computes_something_else_is_refused(
    tmp_path: Path, trained: Path
) -> None:
    other = tmp_path / "other" / "own_network.py"
    other.parent.mkdir()
    text = (HERE / "own_network.py").read_text()
    other.write_text(text + "# a remark changes nothing\n")
    plugins.allow(other)
    assert load_model(trained)
    other.write_text(text.replace("+ self.skip(x)", "- self.skip(x)"))
    with pytest.raises(ModelError, match="computes something else than the one"):
        load_model(trained)


@pytest.mark.parametrize(
    ("network", "said"),
    [
        ({"name": "os:system", "args": {"command": "touch {marker}"}}, "--plugin os"),
        ({"name": "evil.py:Net"}, "needs the file evil.py"),
        ({"name": "monai.networks.nets.unet:torch"}, "is no network class"),
        (
            {
                "name": "monai.networks.nets:FlexibleUNet",
                "args": {"backbone": "efficientnet-b0", "pretrained": True},
            },
            "may read a file or ask a server",
        ),
        (
            {"name": "monai.networks.nets:BasicUNet", "args": {"features": [10**9]}},
            "holds 1000000000",
        ),
        ({"name": "monai.networks.nets:Transchex"}, "fetches weights"),
    ],
)
def test_a_foreign_model_runs_nothing(
    tmp_path: Path, trained: Path, network: dict[str, Any], said: str
) -> None:
    shutil.copytree(trained / "model", tmp_path / "model")
    path = tmp_path / "model" / "model.yaml"
    values = yaml.safe_load(path.read_text())
    marker = tmp_path / "marker"
    text = yaml.safe_dump({**network, "multiple_of": 2}).replace(
        "{marker}", str(marker)
    )
    values["plan"]["network"] = yaml.safe_load(text)
    path.write_text(yaml.safe_dump(values))
    with pytest.raises(PluginError, match=said):
        load_model(tmp_path / "model")
    assert not marker.exists()


def test_a_prepared_store_of_others_runs_nothing(
    tmp_path: Path, tiny_store: Store
) -> None:
    store = tmp_path / "store"
    shutil.copytree(tiny_store.folder, store)
    plan = yaml.safe_load((store / "plan.yaml").read_text())
    plan["network"] = {"name": "os:system", "args": {}}
    (store / "plan.yaml").write_text(yaml.safe_dump(plan))
    config = RunConfig.model_validate(
        {"data": store, "fold": None, "training": {"steps": 1}}
    )
    with pytest.raises(PluginError, match="nobody allowed its code"):
        train(config, tmp_path / "run", device="cpu")


def test_how_far_a_network_sees_is_measured() -> None:
    """A kernel of 3 with stride 2, one of 3 at that distance, back by 2 x 2.

    Output voxels 2m and 2m+1 see 2m−3 to 2m+3 (7 voxels): 1 + 2 of the first kernel
    and 2 x 2 of the second; the farther side of 2m+1 is 4 away, of 2m it is 3.
    """
    plugins.allow(HERE / "own_network.py")
    settings = PluginNetworkSettings(name="own_network.py:HalfNet", multiple_of=2)
    network = build_network(settings, spatial_dims=2, in_channels=1, out_channels=2)
    found = measured_field(network)
    assert found is not None
    assert found.extent == (7, 7)
    assert found.radius == (4, 4)
    assert isinstance(exact_axes(network), str)
    assert receptive_field(network) is None
