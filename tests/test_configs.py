from pathlib import Path

import pytest

from medseg.runs.config import RunConfig, dump_config, read_config
from medseg.studies.study import read_study

FOLDER = Path(__file__).parent.parent / "configs"
STUDIES = sorted(FOLDER.glob("compare_*.yaml"))
CONFIGS = sorted(set(FOLDER.glob("*.yaml")) - set(STUDIES))


@pytest.mark.parametrize("path", STUDIES, ids=lambda p: p.stem)
def test_every_study_is_valid(path: Path) -> None:
    study, runs = read_study(path)
    assert len(runs) == len(study.folds) * len(study.seeds) * len(study.variations)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_every_config_is_valid_and_survives_being_written(
    path: Path, tmp_path: Path
) -> None:
    config = read_config(path, [])
    (tmp_path / "again.yaml").write_text(dump_config(config))
    assert read_config(tmp_path / "again.yaml", []) == config


def test_the_default_config_holds_the_defaults() -> None:
    config = read_config(CONFIGS[0], ["training.epochs=null"])
    assert CONFIGS[0].stem == "default_3d"
    assert config == RunConfig()


def test_overrides_reach_nested_settings() -> None:
    config = read_config(CONFIGS[0], ["training.optimizer.learning_rate=0.5", "fold=2"])
    assert config.training.optimizer.learning_rate == 0.5
    assert config.fold == 2
