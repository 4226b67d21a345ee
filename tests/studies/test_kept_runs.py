"""A finished run that a study keeps is compared with what it asks for now."""

from pathlib import Path

import pytest

from medseg.progress import Silent
from medseg.runs.config import RunConfig, dump_config
from medseg.studies.kept_runs import changed_settings, warn_of_other_settings
from medseg.training.settings import TrainingSettings


class Told(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def warn(self, message: str) -> None:
        self.lines.append(message)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Trained for two minutes, with what was left open decided."""
    folder = tmp_path / "dice_fold0_seed0"
    folder.mkdir()
    trained = RunConfig(
        data=Path("somewhere"),
        training=TrainingSettings.model_validate(
            {
                "budget": "2m",
                "loss": {"name": "dice"},
                "augmentation": {"enabled": True},
            }
        ),
    )
    (folder / "config.yaml").write_text(dump_config(trained))
    return folder


def asked(**training: object) -> RunConfig:
    return RunConfig.model_validate({"data": "elsewhere", "training": training})


@pytest.mark.parametrize(
    "training",
    [
        {"budget": "2m", "loss": {"name": "dice"}},
        {"budget": "120s"},
        {},
        {"budget": None, "augmentation": None},
    ],
)
def test_the_same_settings_are_the_same(run: Path, training: dict[str, object]) -> None:
    told = Told()
    warn_of_other_settings(run, asked(**training), told)
    assert told.lines == []


def test_other_settings_are_named(run: Path) -> None:
    told = Told()
    wanted = asked(budget="15m", loss={"name": "focal"}, seed=3)
    warn_of_other_settings(run, wanted, told)
    (line,) = told.lines
    assert "dice_fold0_seed0: finished earlier with other settings, and kept" in line
    assert "training.budget was 120s, now 900s" in line
    assert "training.loss.name was dice, now focal" in line
    assert "training.seed was 0, now 3" in line
    assert changed_settings(run.parent / "none", wanted) == ()
