"""Imported models and task lists by every way that medseg's own models go."""

import csv
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from monai_bundles import UNET, config_of, write_bundle
from nnunet_folders import Example
from predict_phantoms import planted_series, scan_like
from pydicom import dcmread

from medseg.conversion.import_model import import_model
from medseg.errors import ModelError, SettingsError
from medseg.imported.bundle import read_bundle
from medseg.inference.settings import InferenceSettings
from medseg.io.identity import Pseudonymizer
from medseg.prediction.predict import predict
from medseg.prediction.segmenter import ScanOptions
from medseg.prediction.shutdown import Stop
from medseg.progress import Silent
from medseg.reading import read_label_map

CT = {
    "normalization_schemes": ["CTNormalization"],
    "patch_size": [6, 14, 14],
    "spacing": [2.5, 1.0, 1.0],
}


def nnunet(folder: Path) -> Path:
    """Labels depend on intensities alone, so that the phantom's ball is found."""
    return Example(channels=("CT",), mirror=None, changes=CT, patch=(6, 14, 14)).write(
        folder / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    )


def bundle(folder: Path) -> Path:
    write_bundle(folder / "bundle", config_of())
    return folder / "bundle"


def task_list(folder: Path) -> Path:
    nnunet(folder)
    bundle(folder)
    file = folder / "tasks.yaml"
    names = ("nnUNetTrainer__nnUNetPlans__3d_fullres", "bundle")
    file.write_text(yaml.safe_dump({"models": [{"model": name} for name in names]}))
    return file


MODELS: dict[str, Callable[[Path], Path]] = {
    "nnU-Net": nnunet,
    "MONAI": bundle,
    "task list": task_list,
}


@pytest.mark.parametrize("name", MODELS)
def test_dicom_in_and_segmentation_out(name: str, tmp_path: Path) -> None:
    model = MODELS[name](tmp_path)
    planted = planted_series(tmp_path / "scans" / "one", Modality="CT")
    out = tmp_path / "out"
    options = ScanOptions(seg=True, page=True)
    (line,) = predict(model, tmp_path / "scans", out, device="cpu", options=options)
    assert line.status == "done", line.reason
    labels = read_label_map(out / line.outputs[0]).voxels
    (file,) = [n for n in line.outputs if n.endswith("_seg.dcm")]
    found = dcmread(out / file)
    source = dcmread(planted.paths[0])
    assert found.StudyInstanceUID == source.StudyInstanceUID
    bits = np.unpackbits(
        np.frombuffer(found.PixelData, np.uint8), bitorder="little"
    ).sum()
    assert int(bits) == int((labels > 0).sum()) > 0
    assert (out / "report.html").is_file()
    text = (out / "predictions.csv").read_text()
    assert not any(secret in text for secret in planted.secrets)


@pytest.mark.parametrize("name", ["MONAI", "task list"])
def test_probabilities_of_labels_are_refused_before_any_scan_is_read(
    name: str, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match="--probabilities"):
        predict(
            *(MODELS[name](tmp_path), tmp_path / "none", tmp_path / "out"),
            device="cpu",
            options=ScanOptions(probabilities=True),
        )


def test_probabilities_of_nnunet_lie_beside_the_label_map(tmp_path: Path) -> None:
    scan_like(tmp_path / "scan.nii.gz", offset=-60.0)
    (line,) = predict(
        *(nnunet(tmp_path), tmp_path / "scan.nii.gz", tmp_path / "out"),
        device="cpu",
        options=ScanOptions(probabilities=True),
    )
    assert line.status == "done", line.reason
    assert (tmp_path / "out" / "scan_probabilities.b2nd").is_file()


def test_options_of_other_tools_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="--orientation: a MONAI bundle"):
        import_model(bundle(tmp_path), tmp_path / "m", orientation="LPS")
    with pytest.raises(SettingsError, match="--set: a model of nnU-Net"):
        import_model(nnunet(tmp_path), tmp_path / "m", overrides=["a=1"])


def test_fast_mode_of_a_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="leave --fast out"):
        predict(
            *(bundle(tmp_path), scan_like(tmp_path / "s.nii.gz"), tmp_path / "out"),
            device="cpu",
            settings=InferenceSettings(fast=True),
        )


def test_a_scan_that_a_bundle_cannot_take_stops_nobody(tmp_path: Path) -> None:
    deep = {**UNET, "channels": [4, 8, 8], "strides": [2, 2]}  # takes multiples of 4
    config = config_of(deep, inferer={"_target_": "SimpleInferer"})
    config["preprocessing"]["transforms"] = [
        step
        for step in config["preprocessing"]["transforms"]
        if step["_target_"] != "Spacingd"
    ]
    write_bundle(tmp_path / "bundle", config)
    scans = tmp_path / "scans"
    scans.mkdir()
    scan_like(scans / "even.nii.gz", shape=(24, 28, 20), offset=-60.0)
    scan_like(scans / "odd.nii.gz", shape=(21, 25, 17), offset=-60.0)
    lines = predict(tmp_path / "bundle", scans, tmp_path / "out", device="cpu")
    assert {line.scan: line.status for line in lines} == {
        "even": "done",
        "odd": "failed",
    }
    assert "do not take it" in lines[1].reason
    assert read_bundle(tmp_path / "bundle").models[0].plan.spatial_dims == 3


def rows(out: Path) -> dict[str, str]:
    try:
        with (out / "predictions.csv").open(newline="") as stream:
            return {row["scan"]: row["status"] for row in csv.DictReader(stream)}
    except FileNotFoundError:
        return {}


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_watching(name: str, tmp_path: Path) -> None:
    model, tree, out = MODELS[name](tmp_path), tmp_path / "tree", tmp_path / "out"
    scan_like(tree / "first.nii.gz", offset=-60.0)
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "medseg", "predict", str(model), str(tree)),
            *("-o", str(out), "--watch", "--settle", "0.4", "--device", "cpu"),
        ],
        start_new_session=True,
    )
    try:
        for scan in ("first", "second"):
            while rows(out).get(scan) != "done":
                assert process.poll() is None
                time.sleep(0.1)
            scan_like(tree / "second.nii.gz", seed=2, offset=-60.0)
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", MODELS)
def test_the_dicom_node(name: str, tmp_path: Path) -> None:
    pynetdicom = pytest.importorskip("pynetdicom")
    from medseg.serving.pacs.service import Node
    from medseg.serving.pacs.settings import PacsSettings
    from medseg.serving.pacs.worker import WorkerOptions
    from medseg.settings import parse_settings

    model = MODELS[name](tmp_path)
    planted = planted_series(tmp_path / "sent", Modality="CT")
    settings = parse_settings(
        PacsSettings,
        {"allow": ["FRIEND"], "port": 0, "settle": 0.3, "min_free_gb": 0.0},
    )
    options = WorkerOptions(model, device="cpu")
    names = Pseudonymizer(b"k" * 32)
    node = Node(tmp_path / "node", options, settings, names, Silent())
    stop = Stop()
    node.start()
    thread = threading.Thread(target=node.run, args=(stop,))
    thread.start()
    try:
        entity = pynetdicom.AE(ae_title="FRIEND")
        entity.add_requested_context(pynetdicom.sop_class.CTImageStorage)
        association = entity.associate("127.0.0.1", node.port, ae_title="MEDSEG")
        for path in planted.paths:
            assert association.send_c_store(str(path)).Status == 0
        association.release()
        found: list[Path] = []
        while not found:
            results = (tmp_path / "node" / "results").rglob("*_seg.dcm")
            found = [path for path in results if not path.name.startswith(".")]
            assert thread.is_alive()
            time.sleep(0.1)
    finally:
        stop.event.set()
        thread.join()
        node.close()
    result = dcmread(found[0])
    assert result.StudyInstanceUID == dcmread(planted.paths[0]).StudyInstanceUID


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_the_command_of_the_dicom_node_takes_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pynetdicom")
    from medseg.serving.pacs import service
    from medseg.serving.pacs.settings import PacsSettings
    from medseg.serving.pacs.worker import WorkerOptions

    started: list[int] = []

    def run(node: service.Node, stop: Stop) -> None:
        started.append(node.port)

    monkeypatch.setattr(service.Node, "run", run)
    settings = PacsSettings.model_validate({"allow": ["FRIEND"], "port": 0})
    options = WorkerOptions(MODELS[name](tmp_path), device="cpu")
    assert not service.serve(tmp_path / "node", options, settings)
    assert started


def test_record_of_the_licence(tmp_path: Path) -> None:
    model = bundle(tmp_path)
    file = model / "configs" / "metadata.json"
    metadata = json.loads(file.read_text())
    metadata["license"] = "Apache-2.0"
    file.write_text(json.dumps(metadata))
    scan_like(tmp_path / "scan.nii.gz", offset=-60.0)
    predict(model, tmp_path / "scan.nii.gz", tmp_path / "out", device="cpu")
    with (tmp_path / "out" / "predictions.csv").open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert row["licence"] == "Apache-2.0"
