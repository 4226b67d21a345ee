"""`medseg train` without a configuration, `--resume RUN` alone, `medseg init`."""

from pathlib import Path

import pytest
import yaml
from command_line import CONFIG, medseg

from medseg.runs.config import read_config

TINY = [
    "--set", "plan.network={name: unet, channels: [4, 8], strides: [1, 2]}",
    "--set", "plan.patch_size=[16, 16, 16]",
    "--set", "training.precision=float32",
    "--set", "metrics.num_resamples=100",
    "--set", "tracking.enabled=false",
]  # fmt: skip


def test_a_run_needs_no_file_and_resumes_by_its_name(
    tiny_study: Path, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    (here / "data").symlink_to(tiny_study)
    done = medseg(
        "train", "--data", "data", "--steps", "12", *TINY, "-o", "a", cwd=here
    )
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stderr.splitlines()[-5:]]
    assert [line[0] for line in lines] == ["model", "scores", "report", "log", "next"]
    assert all((here / line[1]).exists() for line in lines[:4])
    assert lines[4][1:] == ["medseg", "predict", "a", "SCANS", "-o", "segmented"]
    again = medseg("train", "--resume", here / "a", "--steps", "14", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "from step 12" in again.stderr
    assert "14 steps in" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "x"], "name the run's folder: -o RUN"),
        (["--resume"], "name the run: medseg train --resume RUN"),
        (["--resume", "nothing"], "no run to continue: it has no config.yaml"),
        (["default_3d", "--config", "slices_2d", "-o", "a"], "give one of them"),
        (["default_3d", "-o", "a"], "no data: give --data DATASET"),
        (["--config", "defualt_3d", "-o", "a"], "nearest: default_3d"),
    ],
)
def test_what_is_missing_is_said(
    arguments: list[str], message: str, tmp_path: Path
) -> None:
    done = medseg("train", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr


def test_networks_are_continued_by_their_number(tmp_path: Path) -> None:
    (tmp_path / "network0").mkdir()
    (tmp_path / "network0" / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    done = medseg("train", "--resume", tmp_path)
    assert "say how many with --networks" in done.stderr


def test_init_writes_a_configuration_that_trains(
    tiny_study: Path, tmp_path: Path
) -> None:
    done = medseg("init", tiny_study, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    path = tmp_path / "tiny.yaml"
    config = read_config(path, [])
    assert config.data == tiny_study
    assert config.prepare.spatial_dims == 3
    assert config.training.budget == 900
    text = path.read_text()
    assert "6 cases of 5 patients" in text
    assert "labels 0 background, 1 ball," in text
    assert "Channel synthetic0: no CT" in text
    assert "medseg train tiny.yaml --budget 15m -o runs/first" in done.stderr
    assert max(map(len, text.splitlines())) <= 100
    second = medseg("init", tiny_study, cwd=tmp_path)
    assert second.returncode == 2
    assert "is there already" in second.stderr
