"""Whole runs on a tiny study: repeatable, resumable to the step, honest about time."""

import itertools
import time
from pathlib import Path

import pytest
import torch
from small_runs import CPU, SMALL, Interrupted, run, small_plan

from medseg.errors import NonFiniteLossError, NonFiniteWeightsError, TrainingError
from medseg.inference.predictor import Predictor
from medseg.networks.settings import UNetSettings
from medseg.store import Store
from medseg.training.length import StepLength, TimeBudget
from medseg.training.loop import FitResult
from medseg.training.settings import OptimizerSettings, TrainingSettings
from medseg.training.trainer import TrainingSteps
from medseg.training.validation import validate


def weights_of(result: FitResult) -> torch.Tensor:
    return torch.cat([p.flatten() for p in result.network.parameters()])


def test_two_runs_of_one_seed_are_equal(tiny_store: Store, tmp_path: Path) -> None:
    first = run(tiny_store, tmp_path / "a", StepLength(6))
    second = run(tiny_store, tmp_path / "b", StepLength(6))
    assert torch.equal(weights_of(first), weights_of(second))


def test_a_resumed_run_ends_with_the_same_weights(
    tiny_store: Store, tmp_path: Path
) -> None:
    whole = run(tiny_store, tmp_path / "whole", StepLength(8))
    run(tiny_store, tmp_path / "cut", Interrupted(8, stop_after=3))
    resumed = run(tiny_store, tmp_path / "cut", StepLength(8), resume=True)
    assert resumed.steps == 8
    assert torch.equal(weights_of(whole), weights_of(resumed))


def test_slices_of_volumes_are_trained_in_2d(tiny_store: Store, tmp_path: Path) -> None:
    result = run(tiny_store, tmp_path, StepLength(2), dims=2)
    assert result.steps == 2


def test_loss_falls_on_a_simple_study(tiny_store: Store, tmp_path: Path) -> None:
    settings = TrainingSettings(
        precision="float32",
        ema_decay=0.8,
        optimizer=OptimizerSettings(learning_rate=1e-2),
    )
    network = UNetSettings(channels=(8, 16, 32), strides=(1, 2, 2))
    length = StepLength(80)
    result = run(tiny_store, tmp_path, length, settings=settings, network=network)
    plan = small_plan(tiny_store, dims=3, network=network)
    held_out = [tiny_store.case(name) for name in tiny_store.split(0)[1]]
    scores = validate(Predictor(result.network, plan, CPU), held_out)
    assert scores["dice/mean"] > 0.8


def test_a_budget_is_kept(
    tiny_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = itertools.count(step=0.125)  # a clock that moves when it is looked at
    monkeypatch.setattr(time, "monotonic", lambda: next(ticks))
    result = run(tiny_store, tmp_path, TimeBudget(16.0))
    assert 0 < result.steps < 128
    assert 16.0 <= next(ticks) < 18.0


@pytest.mark.parametrize("seconds", [0.25, 1.0, 2.5])
def test_a_budget_that_trains_nothing_leaves_no_checkpoint(
    tiny_store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    seconds: float,
) -> None:
    ticks = itertools.count(step=0.125)
    monkeypatch.setattr(time, "monotonic", lambda: next(ticks))
    with pytest.raises(TrainingError, match="give at least --budget"):
        run(tiny_store, tmp_path, TimeBudget(seconds))
    assert not list(tmp_path.rglob("*.pt"))


def test_stop_file_ends_the_run_and_resume_goes_on(
    tiny_store: Store, tmp_path: Path
) -> None:
    run(tiny_store, tmp_path, Interrupted(6, stop_after=2))
    (tmp_path / "STOP").touch()
    stopped = run(tiny_store, tmp_path, StepLength(6), resume=True)
    assert stopped.steps == 2
    assert "stop file" in stopped.stopped_by


def test_other_settings_are_not_resumed(tiny_store: Store, tmp_path: Path) -> None:
    run(tiny_store, tmp_path, StepLength(1), identity="one")
    with pytest.raises(TrainingError, match="other data, plan or settings"):
        run(tiny_store, tmp_path, StepLength(2), identity="two", resume=True)


def test_damaged_checkpoint_is_named(tiny_store: Store, tmp_path: Path) -> None:
    run(tiny_store, tmp_path, StepLength(1))
    path = tmp_path / "checkpoints" / "last.pt"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(TrainingError, match=r"last\.pt: damaged checkpoint"):
        run(tiny_store, tmp_path, StepLength(2), resume=True)


def test_exploding_loss_names_the_cases(tiny_store: Store, tmp_path: Path) -> None:
    settings = TrainingSettings(
        precision="float32", optimizer=OptimizerSettings(name="sgd", learning_rate=1e30)
    )
    with pytest.raises(NonFiniteLossError, match=r"patches of tiny_\d+"):
        run(tiny_store, tmp_path, StepLength(30), settings=settings)


@pytest.mark.parametrize("name", ["ce", "focal", "dice_ce", "dice", "topk_ce"])
def test_a_run_that_diverges_ends_with_an_error_and_leaves_no_checkpoint(
    name: str, tiny_store: Store, tmp_path: Path
) -> None:
    settings = TrainingSettings.model_validate(
        {
            "precision": "float32",
            "loss": {"name": name},
            "optimizer": {"name": "sgd", "learning_rate": 1e30},
        }
    )
    with pytest.raises((NonFiniteLossError, NonFiniteWeightsError)):
        run(tiny_store, tmp_path, StepLength(30), settings=settings)
    assert not (tmp_path / "checkpoints" / "last.pt").exists()


@pytest.mark.parametrize("of", ["trained", "averaged"])
def test_weights_that_are_no_numbers_are_never_saved(
    of: str, tiny_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A weight becomes infinite in the last step, after its loss was computed."""
    run(tiny_store, tmp_path, Interrupted(3, stop_after=2))
    before = (tmp_path / "checkpoints" / "last.pt").read_bytes()
    take = TrainingSteps.take

    def take_and_break(training_steps: TrainingSteps, done: float) -> None:
        take(training_steps, done)
        state = training_steps.state
        network = {"trained": state.network, "averaged": state.averaged.network}[of]
        next(network.parameters()).data.view(-1)[0] = float("inf")

    monkeypatch.setattr(TrainingSteps, "take", take_and_break)
    with pytest.raises(NonFiniteWeightsError, match="step 3: training diverged, 1 of"):
        run(tiny_store, tmp_path, StepLength(3), resume=True)
    assert (tmp_path / "checkpoints" / "last.pt").read_bytes() == before


def test_a_checkpoint_of_a_diverged_run_is_not_continued(
    tiny_store: Store, tmp_path: Path
) -> None:
    run(tiny_store, tmp_path, StepLength(2))
    path = tmp_path / "checkpoints" / "last.pt"
    values = torch.load(path, weights_only=True)
    next(iter(values["network"].values())).fill_(float("nan"))
    torch.save(values, path)
    with pytest.raises(NonFiniteWeightsError, match="step 2: training diverged"):
        run(tiny_store, tmp_path, StepLength(4), resume=True)


def test_presence_head_is_trained_beside_the_segmentation(
    tiny_store: Store, tmp_path: Path
) -> None:
    network = SMALL.model_copy(update={"presence_head": True})
    fresh = run(tiny_store, tmp_path / "a", StepLength(1), network=network)
    trained = run(tiny_store, tmp_path / "b", StepLength(6), network=network)
    before, after = fresh.network.presence.weight, trained.network.presence.weight
    assert not torch.equal(before, after)
