"""Training a run: what its folder holds is not touched by a run that is refused."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from medseg.errors import SettingsError, TrainingError
from medseg.model import load_model
from medseg.progress import Silent
from medseg.runs.config import RunConfig
from medseg.runs.fit import fit_run
from medseg.runs.setup import set_up_run
from medseg.runs.train import train
from medseg.store import Store
from medseg.testing.tiny_study import make_tiny_study
from medseg.training.process_group import ProcessGroup


def config(data: Path, **training: object) -> RunConfig:
    return RunConfig.model_validate(
        {
            "data": data,
            "training": {"steps": 2, "validation_cases": 1, **training},
            "metrics": {"distances": False},
            "inference": {"flips": True},
        }
    )


def test_resuming_before_the_first_checkpoint_starts_from_the_beginning(
    tmp_path: Path, tiny_store: Store
) -> None:
    """So that a script that always resumes gets going, whenever it was killed."""
    out = tmp_path / "run"
    out.mkdir()
    (out / "config.yaml").write_text("left: by a call that was killed")
    changes = {"enabled": False}
    given = config(tiny_store.folder).replaced(tracking=changes)
    trained = train(given, out, device="cpu", resume=True)
    assert trained.fit.steps == 2
    assert load_model(out)


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


def test_scores_of_former_weights_do_not_stay_beside_new_ones(
    tmp_path: Path, tiny_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"

    def trained(steps: int) -> set[str]:
        given = config(tiny_store.folder, steps=steps)
        resume = (out / "checkpoints").exists()
        train(given.replaced(tracking={"enabled": False}), out, resume=resume)
        found = ("model/model.yaml", "validation/cases.csv", "report.html", "time.json")
        return {name for name in found if (out / name).is_file()}

    everything = trained(2)
    assert len(everything) == 4
    monkeypatch.setattr(
        "medseg.runs.train.fit_run",
        lambda *given, **more: replace(fit_run(*given, **more), stopped_by="SIGINT"),
    )
    assert trained(2) == everything  # the same weights
    assert trained(3) == {"model/model.yaml"}
    assert load_model(out).provenance.steps == 3
    monkeypatch.undo()
    assert trained(3) == everything


def identity(data: Path, out: Path, **changes: object) -> str:
    values = config(data).model_dump() | changes
    return set_up_run(
        RunConfig.model_validate(values),
        out / "run",
        device=torch.device("cpu"),
        processes=ProcessGroup(),
        progress=Silent(),
    ).identity


def test_a_run_goes_on_with_its_data_in_another_place_but_not_with_other_data(
    tmp_path: Path,
) -> None:
    study = make_tiny_study(tmp_path / "study", shape=(10, 9, 8))
    first = identity(study, tmp_path / "a")
    description = json.loads((study / "dataset.json").read_text())
    study = study.rename(tmp_path / "renamed")
    assert identity(study, tmp_path / "b") == first
    (study / "dataset.json").write_text(json.dumps(description | {"name": "other"}))
    assert identity(study, tmp_path / "c") == first
    store = tmp_path / "c" / "stores"
    (store,) = [path for path in store.iterdir() if path.is_dir()]
    assert identity(store, tmp_path / "d") == first
    assert identity(study, tmp_path / "e", fold=1) != first
    folds = config(study).prepare.replaced(num_folds=2)
    assert identity(study, tmp_path / "f", prepare=folds) != first
    (study / "labelsTr" / "tiny_005.nii.gz").unlink()
    skipping = config(study).prepare.replaced(skip_broken=True)
    assert identity(study, tmp_path / "g", prepare=skipping) != first


def test_one_case_alone_is_told_how_it_can_be_trained_on(tmp_path: Path) -> None:
    study = make_tiny_study(tmp_path / "one", num_cases=1, shape=(10, 9, 8))
    with pytest.raises(SettingsError, match=r"no case to train on; --fold none trains"):
        identity(study, tmp_path / "a")
    assert identity(study, tmp_path / "b", fold=None)
