"""The whole journey through the command line, in a process of its own."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from command_line import CONFIG, medseg

from medseg.io import read_grid, read_label_map


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(CONFIG))
    return path


@pytest.fixture(scope="module")
def run(tiny_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(CONFIG))
    done = medseg("train", path, "--data", tiny_study, "-o", folder / "run")
    assert done.returncode == 0, done.stderr
    return folder / "run"


def test_a_run_leaves_what_the_plan_of_the_house_says(run: Path) -> None:
    for name in (
        "config.yaml",
        "plan.yaml",
        "metrics.csv",
        "run.log",
        "model/weights.safetensors",
        "model/model.yaml",
        "model/card.md",
        "checkpoints/last.pt",
        "validation/cases.csv",
        "validation/summary.csv",
    ):
        assert (run / name).is_file(), name
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["training"]["augmentation"]["flip_axes"] == [0]


def test_predictions_are_on_the_scans_own_grid(
    run: Path, tiny_study: Path, tmp_path: Path
) -> None:
    scans = tiny_study / "imagesTr"
    done = medseg("predict", run, scans, "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    for scan in scans.iterdir():
        label_map = read_label_map(tmp_path / "out" / scan.name)
        assert label_map.grid.mismatch(read_grid(scan)) == ""
        assert set(label_map.voxels.ravel().tolist()) <= {0, 1, 2}
    with (tmp_path / "out" / "predictions.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["status"] for row in rows] == ["done"] * 6
    assert float(rows[0]["ball_ml"]) >= 0


def test_a_second_call_leaves_finished_scans_alone(
    run: Path, tiny_study: Path, tmp_path: Path
) -> None:
    scan = tiny_study / "imagesTr" / "tiny_000.nii.gz"
    medseg("predict", run, scan, "-o", tmp_path / "out")
    first = (tmp_path / "out" / scan.name).stat().st_mtime_ns
    medseg("predict", run, scan, "-o", tmp_path / "out")
    assert (tmp_path / "out" / scan.name).stat().st_mtime_ns == first
    table = (tmp_path / "out" / "predictions.csv").read_text()
    assert "unchanged" in table


def test_one_bad_scan_never_stops_the_others(
    run: Path, tiny_study: Path, tmp_path: Path
) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    good = (tiny_study / "imagesTr" / "tiny_000.nii.gz").read_bytes()
    (scans / "b_good.nii.gz").write_bytes(good)
    (scans / "a_cut.nii.gz").write_bytes(good[: len(good) // 2])
    (scans / "c_rubbish.nii.gz").write_bytes(b"no image")
    (scans / ".DS_Store").write_bytes(b"rubbish")
    done = medseg("predict", run, scans, "-o", tmp_path / "out")
    assert done.returncode == 1
    with (tmp_path / "out" / "predictions.csv").open() as stream:
        rows = {row["scan"]: row for row in csv.DictReader(stream)}
    assert {name: row["status"] for name, row in rows.items()} == {
        "a_cut": "failed",
        "b_good": "done",
        "c_rubbish": "failed",
    }
    assert "a_cut.nii.gz" in rows["a_cut"]["reason"]
    assert sorted(p.name for p in (tmp_path / "out").glob("*.nii.gz")) == [
        "b_good.nii.gz"
    ]


def test_killed_and_resumed_equals_never_interrupted(
    config: Path, tiny_study: Path, tmp_path: Path
) -> None:
    steps = ("--steps", "40")
    data = ("--data", str(tiny_study))
    whole = medseg("train", config, *data, *steps, "-o", tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    cut = tmp_path / "cut"
    command = [sys.executable, "-m", "medseg", "train", str(config), *data, *steps]
    process = subprocess.Popen([*command, "-o", str(cut)], stderr=subprocess.DEVNULL)
    checkpoint = cut / "checkpoints" / "last.pt"
    while not checkpoint.exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (cut / "model").exists()
    resumed = medseg("train", config, *data, *steps, "-o", cut, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    weights = "model/weights.safetensors"
    assert (cut / weights).read_bytes() == (tmp_path / "whole" / weights).read_bytes()


def test_ctrl_c_ends_cleanly_with_a_model(
    config: Path, tiny_study: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    command = [sys.executable, "-m", "medseg", "train", str(config)]
    options = ["--data", str(tiny_study), "--steps", "1000000", "-o", str(out)]
    process = subprocess.Popen([*command, *options], stderr=subprocess.DEVNULL)
    while not (out / "checkpoints" / "last.pt").exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    assert (out / "model" / "weights.safetensors").is_file()


def test_a_run_is_not_overwritten_by_accident(
    run: Path, config: Path, tiny_study: Path
) -> None:
    again = medseg("train", config, "--data", tiny_study, "-o", run)
    assert again.returncode == 2
    assert "add --resume to continue it" in again.stderr


def test_several_networks_predict_as_one(
    config: Path, tiny_study: Path, tmp_path: Path
) -> None:
    out = tmp_path / "networks"
    scan = tiny_study / "imagesTr" / "tiny_000.nii.gz"
    call = ["train", config, "--data", tiny_study, "--networks", "2", "-o", out]
    refused = medseg(*call, "--fold", "all")
    assert refused.returncode == 2
    assert "--networks goes with one fold" in refused.stderr
    assert not out.exists()
    assert medseg(*call).returncode == 0
    done = medseg("predict", out, scan, "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    table = (tmp_path / "out" / "predictions.csv").read_text()
    assert "mean logits of 2 models" in table


def test_help_answers_without_heavy_imports() -> None:
    code = (
        "import sys, medseg.cli; heavy = {'torch', 'mlflow', 'SimpleITK', 'pandas', "
        "'matplotlib', 'skimage', 'monai', 'nibabel', 'scipy'}; "
        "sys.exit(', '.join(heavy & set(sys.modules)) or None)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ
    )
    assert done.returncode == 0, done.stderr
