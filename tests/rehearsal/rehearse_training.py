"""Whole runs of training ask a GPU for nothing that it would refuse or do slowly."""

from pathlib import Path

import pytest
import torch
from ceilings import STEP_LAUNCHES
from fake_gpu import FakeGPU
from rehearsed_fit import Rehearsal, small_plan
from training_parts import STEP

from medseg.labels import LabelScheme
from medseg.store import Store, StoredCase
from medseg.training import trainer
from medseg.training.checkpoint import load_checkpoint
from medseg.training.settings import TrainingSettings
from medseg.training.step import LossGuard
from medseg.training.trainer import GPU_GUARD_STEPS

SETTINGS = TrainingSettings(precision="bfloat16", compile="off", checkpoint_every=1e-3)
FLOAT16 = SETTINGS.model_copy(update={"precision": "float16"})
MANY = LabelScheme(names={f"organ {number}": number for number in range(1, 20)})
"""A background and 19 organs."""


def rehearsal(store: Store, folder: Path, **options: object) -> Rehearsal:
    return Rehearsal(store, small_plan(store), folder, SETTINGS, **options)


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_the_host_waits_in_no_step(
    gpu: FakeGPU, tiny_store: Store, tmp_path: Path, precision: str, resident: bool
) -> None:
    settings = SETTINGS.model_copy(update={"precision": precision})
    run = Rehearsal(
        tiny_store, small_plan(tiny_store), tmp_path, settings, resident=resident
    )
    result = run.run(gpu)
    assert result.steps == 3
    assert gpu.seen.waits(*STEP) == []
    assert gpu.seen.parts["validation"].num_launches
    assert gpu.seen.parts["guard"].waits.total() == 3
    for part, ceiling in STEP_LAUNCHES.items():
        seen = gpu.seen.parts[part]
        assert seen.num_launches <= ceiling * result.steps, seen.describe()
        assert seen.num_launches or (part == "data" and not resident)


def test_losses_are_looked_at_every_twenty_steps(gpu: FakeGPU) -> None:
    guard = LossGuard(every=GPU_GUARD_STEPS)
    with gpu:
        for step in range(21):
            assert gpu.seen.waits() == []
            guard.add(torch.ones((), device="cuda"), step=step, case_ids=("a",))
            if step == 19:
                assert gpu.seen.parts["rest"].waits.total() == 20
                gpu.seen.parts.clear()


def test_of_twenty_classes(gpu: FakeGPU, tiny_store: Store, tmp_path: Path) -> None:
    plan = small_plan(tiny_store, labels=MANY)
    Rehearsal(tiny_store, plan, tmp_path, SETTINGS, steps=1).run(gpu)
    assert gpu.seen.waits(*STEP) == []


def test_of_cases_that_do_not_annotate_everything(
    gpu: FakeGPU, tiny_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StoredCase, "unannotated", (1,))
    rehearsal(tiny_store, tmp_path, steps=1).run(gpu)
    assert gpu.seen.waits(*STEP) == []


def test_of_pictures(gpu: FakeGPU, tiny_store: Store, tmp_path: Path) -> None:
    plan = small_plan(tiny_store, dims=2)
    Rehearsal(tiny_store, plan, tmp_path, SETTINGS, steps=2).run(gpu)
    assert gpu.seen.waits(*STEP) == []


@pytest.mark.parametrize("resident", [True, False])
def test_of_the_second_gpu(
    gpu: FakeGPU, tiny_store: Store, tmp_path: Path, resident: bool
) -> None:
    """Tensors of ``cuda`` and of ``cuda:1`` would not meet."""
    run = rehearsal(tiny_store, tmp_path, device="cuda:1", resident=resident, steps=2)
    result = run.run(gpu)
    devices = {p.device for p in result.network.parameters()}
    assert devices == {torch.device("cuda:1")}
    assert gpu.asked == {1}


def test_a_resumed_run_goes_on(gpu: FakeGPU, tiny_store: Store, tmp_path: Path) -> None:
    plan = small_plan(tiny_store)
    Rehearsal(tiny_store, plan, tmp_path, FLOAT16, steps=2).run(gpu)
    before = load_checkpoint(tmp_path, identity="rehearsal")
    again = FakeGPU()
    result = Rehearsal(tiny_store, plan, tmp_path, FLOAT16, steps=4).run(
        again, resume=True
    )
    assert before["step"] == 2
    assert result.steps == 4
    assert again.seen.waits(*STEP) == []
    unscaled = "_amp_foreach_non_finite_check_and_unscale_"
    assert unscaled in again.seen.parts["optimiser"].launches


def test_of_a_device_without_float64(
    tiny_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "has_float64", lambda device: False)
    result = rehearsal(tiny_store, tmp_path, steps=2).run(FakeGPU(float64=False))
    assert result.steps == 2
