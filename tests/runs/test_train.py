"""Training a run: what its folder holds is not touched by a run that is refused."""

from pathlib import Path

import pytest

from medseg.errors import TrainingError
from medseg.model import load_model
from medseg.runs.config import RunConfig
from medseg.runs.train import train


def config(data: Path, **training: object) -> RunConfig:
    return RunConfig.model_validate(
        {
            "data": data,
            "training": {"steps": 2, "validation_cases": 1, **training},
            "metrics": {"distances": False},
            "inference": {"flips": True},
        }
    )


def test_a_refused_resume_leaves_the_run_as_it_was(
    tmp_path: Path, tiny_study: Path
) -> None:
    out = tmp_path / "run"
    train(config(tiny_study), out, device="cpu")
    before = {
        path: path.read_bytes()
        for path in tmp_path.rglob("*")
        if path.is_file() and path.suffix in {".yaml", ".db", ".csv", ".pt"}
    }
    assert out / "config.yaml" in before
    assert load_model(out).flips
    with pytest.raises(TrainingError, match="written with other data, plan or"):
        train(config(tiny_study, seed=1), out, device="cpu", resume=True)
    assert {path: path.read_bytes() for path in before} == before
