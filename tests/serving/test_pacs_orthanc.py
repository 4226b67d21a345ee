"""A real archive: Orthanc sends a study, the node segments, Orthanc has the result."""

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pytest
from predict_phantoms import planted_series
from pydicom import dcmread

from medseg.io import read_label_map
from medseg.io.dicom.label_objects.segmentation import read_segmentation

pytest.importorskip("pynetdicom")
ORTHANC = shutil.which("Orthanc") or (
    "/usr/sbin/Orthanc" if Path("/usr/sbin/Orthanc").exists() else None
)
PLUGINS = [Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")]
pytestmark = pytest.mark.skipif(
    ORTHANC is None, reason="Orthanc is not on PATH (Debian: apt install orthanc)"
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def documented_script() -> str:
    """The Lua script that the documentation gives its readers."""
    text = (Path(__file__).parents[2] / "docs" / "pacs.md").read_text()
    return text.partition("```lua\n")[2].partition("```")[0]


class Archive:
    """An Orthanc of the test's own."""

    def __init__(self, http: int, dicom: int) -> None:
        self.http, self.dicom = http, dicom

    def ask(self, path: str, content: bytes | None = None) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.http}{path}",
            data=content,
            headers={"Accept": "application/json"} if "dicom-web" in path else {},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            data = answer.read()
        return data if path.endswith("/file") else json.loads(data)


def wait_until(condition: Callable[[], Any]) -> Any:
    while not (found := condition()):
        time.sleep(0.1)
    return found


@contextmanager
def running(command: list[str]) -> Iterator[subprocess.Popen]:
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def orthanc(folder: Path, node_port: int) -> Iterator[Archive]:
    archive = Archive(free_port(), free_port())
    config = {
        "Name": "medseg test",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "Plugins": [str(path) for path in PLUGINS if path.exists()],
        "HttpPort": archive.http,
        "DicomPort": archive.dicom,
        "DicomAet": "ORTHANC",
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "StableAge": 1,
        "LuaScripts": [str(folder / "forward.lua")],
        "DicomModalities": {"medseg": ["MEDSEG", "127.0.0.1", node_port]},
    }
    folder.mkdir()
    (folder / "orthanc.json").write_text(json.dumps(config))
    (folder / "forward.lua").write_text(documented_script())
    assert ORTHANC is not None
    with running([ORTHANC, str(folder / "orthanc.json")]):

        def is_up() -> bool:
            try:
                return bool(archive.ask("/system"))
            except OSError:
                return False

        wait_until(is_up)
        yield archive


@pytest.mark.filterwarnings("ignore")
def test_the_result_is_found_in_the_archive_under_the_same_study(
    bright_model: Path, tmp_path: Path
) -> None:
    paths = planted_series(tmp_path / "sent").paths
    port = free_port()
    with orthanc(tmp_path / "orthanc", port) as archive:
        command = [
            *(sys.executable, "-m", "medseg"),
            *("pacs", str(bright_model), "-o", str(tmp_path / "node")),
            *("--allow", "ORTHANC", "--send-to", f"ORTHANC@127.0.0.1:{archive.dicom}"),
            *("--port", str(port), "--settle", "0.5", "--device", "cpu", "--sr"),
        ]
        with running(command) as node:
            wait_until(lambda: _listens(port) or node.poll() is not None)
            assert node.poll() is None
            for path in paths:
                archive.ask("/instances", path.read_bytes())
            (study,) = archive.ask("/studies")

            def results(kind: str) -> list[dict[str, Any]]:
                series = archive.ask(f"/studies/{study}/series")
                return [
                    item for item in series if item["MainDicomTags"]["Modality"] == kind
                ]

            (found,) = wait_until(lambda: results("SEG"))
            (reported,) = wait_until(lambda: results("SR"))
            data = archive.ask(f"/instances/{found['Instances'][0]}/file")
            report = archive.ask(f"/instances/{reported['Instances'][0]}/file")
            node.terminate()
            assert node.wait(timeout=60) == 0
        if PLUGINS[0].exists():
            uid = dcmread(paths[0]).StudyInstanceUID
            query = f"/dicom-web/studies/{uid}/series?Modality=SEG"
            assert len(archive.ask(query)) == 1
    (tmp_path / "back.dcm").write_bytes(data)
    (label_map,) = (tmp_path / "node" / "results").glob("*/*.nii.gz")
    expected = read_label_map(label_map)
    again = read_segmentation(tmp_path / "back.dcm").label_map(expected.grid)
    assert np.array_equal(again.voxels, expected.voxels)
    assert dcmread(tmp_path / "back.dcm").PatientName == "Planted^Person"
    _require_valid(tmp_path / "back.dcm")
    (tmp_path / "report.dcm").write_bytes(report)
    _require_conforming(tmp_path / "report.dcm")
    groups = highdicom.sr.srread(
        tmp_path / "report.dcm"
    ).content.get_volumetric_roi_measurement_groups(
        referenced_sop_instance_uid=dcmread(tmp_path / "back.dcm").SOPInstanceUID
    )
    assert {group.tracking_identifier for group in groups} == {"ball", "kernel"}


@pytest.mark.skipif(
    not PLUGINS[0].exists(),
    reason="Orthanc's DICOMweb is not installed (Debian: apt install orthanc-dicomweb)",
)
@pytest.mark.filterwarnings("ignore")
def test_dicomweb_finds_fetches_and_files(bright_model: Path, tmp_path: Path) -> None:
    pytest.importorskip("dicomweb_client")
    paths = planted_series(tmp_path / "sent").paths
    with orthanc(tmp_path / "orthanc", free_port()) as archive:
        for path in paths:
            archive.ask("/instances", path.read_bytes())
        url = f"http://127.0.0.1:{archive.http}/dicom-web"
        command = [
            *(sys.executable, "-m", "medseg"),
            *("pacs", str(bright_model), "-o", str(tmp_path / "node")),
            *("--fetch-from", url, "--send-to", url, "--query", "ModalitiesInStudy=CT"),
            *("--settle", "0.5", "--set", "poll=0.5", "--device", "cpu"),
        ]
        with running(command) as node:
            (study,) = archive.ask("/studies")

            def segmentations() -> list[dict[str, Any]]:
                assert node.poll() is None
                series = archive.ask(f"/studies/{study}/series")
                kinds = (item["MainDicomTags"]["Modality"] for item in series)
                return [s for s, k in zip(series, kinds, strict=True) if k == "SEG"]

            (found,) = wait_until(segmentations)
            data = archive.ask(f"/instances/{found['Instances'][0]}/file")
    (tmp_path / "back.dcm").write_bytes(data)
    (label_map,) = (tmp_path / "node" / "results").glob("*/*.nii.gz")
    expected = read_label_map(label_map)
    again = read_segmentation(tmp_path / "back.dcm").label_map(expected.grid)
    assert np.array_equal(again.voxels, expected.voxels)
    _require_valid(tmp_path / "back.dcm")


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _require_valid(path: Path) -> None:
    """Reads with highdicom's checks and, where it is installed, by dciodvfy."""
    highdicom.seg.segread(path)
    _require_conforming(path)


def _require_conforming(path: Path) -> None:
    checker = shutil.which("dciodvfy")
    if checker is not None:
        done = subprocess.run([checker, str(path)], capture_output=True, text=True)
        errors = [line for line in done.stderr.splitlines() if "Error" in line]
        assert errors == []
