"""Two real processes train one model: equal to one, stopped and lost together."""

import csv
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from medseg.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

CHECKPOINT = Path("checkpoints") / "last.pt"


@pytest.fixture(scope="module")
def config(tiny_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "run.yaml"
    network = {"name": "unet", "channels": [4, 8], "strides": [1, 2]}
    values = {
        "data": str(tiny_store.folder),
        "plan": {"patch_size": [16, 16, 16], "batch_size": 3, "network": network},
        "training": {"steps": 6, "precision": "float32", "checkpoint_every": 0.001},
        "tracking": {"enabled": False},
    }
    path.write_text(yaml.safe_dump(values))
    return path


def start(config: Path, out: Path, *options: str, processes: int) -> subprocess.Popen:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    launch += ["--nproc-per-node", str(processes)] if processes > 1 else []
    prefix = launch if processes > 1 else [sys.executable]
    command = [*prefix, "-m", "medseg", "train", str(config), "-o", str(out)]
    return subprocess.Popen(
        [*command, "--device", "cpu", *options],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen) -> str:
    text, _ = process.communicate()
    return str(text)


def weights(out: Path) -> torch.Tensor:
    values = torch.load(out / CHECKPOINT, weights_only=True)["network"]
    return torch.cat([value.flatten().float() for value in values.values()])


def step_of(out: Path) -> int:
    return int(torch.load(out / CHECKPOINT, weights_only=True)["step"])


def test_two_processes_equal_one(config: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    runs = [start(config, one, processes=1), start(config, two, processes=2)]
    texts = [finish(run) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], texts
    assert torch.allclose(weights(one), weights(two), atol=1e-5)
    shown = [re.findall("in .*% of patches, .*", text) for text in texts]
    assert shown[0] == shown[1] != []  # the ledger has every patch once
    tables = [
        list(csv.DictReader((out / "validation" / "cases.csv").open()))
        for out in (one, two)
    ]
    assert [row["case_id"] for row in tables[0]] == [r["case_id"] for r in tables[1]]
    assert "in 2 processes" in texts[1]
    assert texts[1].count("training for") == 1


def wait_for_step(out: Path, process: subprocess.Popen) -> None:
    while not (out / CHECKPOINT).is_file():
        assert process.poll() is None, finish(process)
        time.sleep(0.05)


def workers_of(process: subprocess.Popen) -> list[int]:
    import psutil

    return [child.pid for child in psutil.Process(process.pid).children()]


@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process_ends_the_run_and_one_process_resumes_it(
    config: Path, tmp_path: Path, victim: int
) -> None:
    many = ("--steps", "100000")
    process = start(config, tmp_path / "run", *many, processes=2)
    wait_for_step(tmp_path / "run", process)
    os.kill(workers_of(process)[victim], signal.SIGKILL)
    text = finish(process)
    assert process.returncode != 0
    ends = ("another process of this run ended", "ended early: SIGTERM")
    assert any(end in text for end in ends), text  # torchrun may be first to notice
    done = step_of(tmp_path / "run")
    more = ("--steps", str(done + 2), "--resume")
    resumed = start(config, tmp_path / "run", *more, processes=1)
    text = finish(resumed)
    assert resumed.returncode == 0, text
    assert step_of(tmp_path / "run") == done + 2


def test_a_signal_to_one_process_stops_all_after_the_same_step(
    config: Path, tmp_path: Path
) -> None:
    process = start(config, tmp_path / "run", "--steps", "100000", processes=2)
    wait_for_step(tmp_path / "run", process)
    os.kill(workers_of(process)[1], signal.SIGTERM)
    text = finish(process)
    assert "ended early: SIGTERM" in text
    assert step_of(tmp_path / "run") > 0


def test_a_batch_too_small_to_share_is_refused(config: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = start(config, out, "--set", "plan.batch_size=1", processes=2)
    assert "a batch of 1 cannot be shared by 2 processes" in finish(process)
