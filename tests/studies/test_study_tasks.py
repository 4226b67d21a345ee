"""A study in parts: the script for SLURM, tried with a stand-in for `sbatch`; Ray."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from medseg.errors import SettingsError
from medseg.progress import Silent
from medseg.studies.compare import compare
from medseg.studies.tasks import run_task, write_slurm_script

NETWORK = {"name": "unet", "channels": [4, 8], "strides": [1, 2]}


@pytest.fixture
def study(tmp_path: Path) -> Path:
    base = {
        "plan": {"patch_size": [16, 16, 16], "batch_size": 2, "network": NETWORK},
        "training": {"steps": 2, "precision": "float32"},
        "tracking": {"enabled": False},
    }
    values = {
        "name": "two losses",
        "shared": base,
        "variations": {
            name: {"training": {"loss": {"name": name}}} for name in ("dice_ce", "ce")
        },
    }
    path = tmp_path / "a study's.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def write(study: Path, *, device: str = "cpu", data: Path | None = None) -> Path:
    path = study.parent / "run study.sh"
    out = study.parent / "o u t"
    write_slurm_script(path, study, out, data=data, root=None, device=device)
    return path


def stand_in(folder: Path, *, runs: bool) -> Path:
    """A `sbatch` that notes its arguments, and does the work at once if it shall."""
    path = folder / "bin" / "sbatch"
    path.parent.mkdir()
    lines = [
        "#!/usr/bin/env bash",
        f"printf '%s\\n' \"$*\" >> '{folder / 'calls.txt'}'",
        "array=0-0",
        'for a in "$@"; do [[ $a == --array=* ]] && array=${a#--array=}; done',
        'script="${*: -2:1}"; verb="${*: -1}"',
    ]
    if runs:
        lines += [
            "for n in $(seq ${array/-/ }); do",
            '  SLURM_ARRAY_TASK_ID="$n" bash "$script" "$verb" >&2',
            "done",
        ]
    path.write_text("\n".join([*lines, "echo '17;cluster'"]) + "\n")
    path.chmod(0o755)
    return path.parent


def submit(script: Path, stand_in_folder: Path) -> list[str]:
    path = f"{stand_in_folder}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(["bash", script], check=True, env={**os.environ, "PATH": path})
    return (stand_in_folder.parent / "calls.txt").read_text().splitlines()


def test_shellcheck_has_nothing_to_say(study: Path) -> None:
    tool = shutil.which("shellcheck", path=Path(sys.executable).parent)
    tool = tool or shutil.which("shellcheck")
    if tool is None:
        pytest.skip("shellcheck is not installed")
    done = subprocess.run(
        [tool, write(study)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_an_array_waits_for_the_data_and_the_comparison_for_the_array(
    study: Path, tmp_path: Path
) -> None:
    script = write(study, device="auto")
    data, array, last = submit(script, stand_in(tmp_path, runs=False))
    assert data.endswith("prepare")
    assert "--array=0-1" in array
    assert "--dependency=afterok:17" in array
    assert "--gres=gpu:1" in array
    assert array.endswith("run")
    assert "--dependency=afterany:17" in last
    assert last.endswith("compare")


def test_a_run_needs_its_number(study: Path) -> None:
    done = subprocess.run(
        ["bash", write(study), "run"], capture_output=True, text=True, check=False
    )
    assert "SLURM_ARRAY_TASK_ID: set by SLURM" in done.stderr


@pytest.mark.parametrize("task", ["2", "-1", "train"])
def test_an_unknown_part_is_named(study: Path, tmp_path: Path, task: str) -> None:
    with pytest.raises(SettingsError, match=f"--task {task}: expected prepare, comp"):
        run_task(
            task,
            study,
            tmp_path,
            data=None,
            root=None,
            device="cpu",
            progress=Silent(),
        )


def test_parts_make_up_the_study(study: Path, tiny_study: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for task in ("prepare", "1", "0", "0", "compare"):  # a run twice is done once
        run_task(
            task,
            study,
            out,
            data=tiny_study,
            root=None,
            device="cpu",
            progress=Silent(),
        )
    assert (out / "summary.md").is_file()
    assert len(list((out / "runs" / "stores").glob("*/store.json"))) == 1


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_script_runs_the_whole_study(
    study: Path, tiny_study: Path, tmp_path: Path
) -> None:
    submit(write(study, data=tiny_study), stand_in(tmp_path, runs=True))
    assert (tmp_path / "o u t" / "summary.md").is_file()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ray_trains_the_runs_side_by_side(
    study: Path, tiny_study: Path, tmp_path: Path
) -> None:
    pytest.importorskip("ray", reason="the extra [ray] is not installed")
    out = tmp_path / "out"
    found = compare(study, out, data=tiny_study, device="cpu", ray_address="local")
    assert not found.failures
    assert (out / "summary.md").is_file()


def test_ray_that_is_not_installed_is_named(
    study: Path, tiny_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SettingsError, match='pip install "ray>='):
        compare(study, tmp_path, data=tiny_study, device="cpu", ray_address="local")
