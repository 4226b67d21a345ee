"""Runs that take a second: a small network on the tiny study."""

from pathlib import Path

import torch

from medseg.augmentation.settings import AugmentationSettings
from medseg.networks.settings import UNetSettings
from medseg.plan import Plan
from medseg.progress import Silent
from medseg.sampling import PatchSampler, SamplingSettings, gather
from medseg.store import Store
from medseg.training.batches import Batch, BatchSource
from medseg.training.length import RunLength, StepLength
from medseg.training.logger import NullLogger
from medseg.training.loop import FitResult, RunContext, fit
from medseg.training.settings import TrainingSettings
from medseg.training.state import TrainingState, fresh_state
from medseg.training.step import segmentation_loss

CPU = torch.device("cpu")
SMALL = UNetSettings(channels=(4, 8), strides=(1, 2), dropout=0.1)


class Interrupted(StepLength):
    """The schedule of a long run that is cut short."""

    def __init__(self, steps: int, *, stop_after: int) -> None:
        super().__init__(steps)
        self.stop_after = stop_after

    def done(self, step: int) -> float:
        return 1.0 if step >= self.stop_after else super().done(step)


def small_plan(store: Store, *, dims: int, network: UNetSettings) -> Plan:
    size = (16, 16, 16)[:dims]
    changes = {
        "spatial_dims": dims,
        "patch_size": size,
        "batch_size": 2,
        "network": network,
    }
    return store.plan.model_copy(update=changes)


def run(
    store: Store,
    folder: Path,
    length: RunLength,
    *,
    settings: TrainingSettings | None = None,
    resume: bool = False,
    identity: str = "same",
    dims: int = 3,
    network: UNetSettings = SMALL,
) -> FitResult:
    settings = settings or TrainingSettings(precision="float32")
    plan = small_plan(store, dims=dims, network=network)
    train_ids, validation_ids = store.split(0)
    cases = [store.case(case_id) for case_id in train_ids]
    sampler = PatchSampler(
        cases, patch_size=plan.patch_size, settings=SamplingSettings(), seed=0
    )
    batches = BatchSource(
        cases,
        sampler,
        plan=plan,
        augmentation=AugmentationSettings(),
        seed=0,
        device=CPU,
    )
    return fit(
        plan,
        settings,
        batches=batches,
        validation_cases=[store.case(case_id) for case_id in validation_ids],
        device=CPU,
        length=length,
        context=RunContext(folder, identity, NullLogger(), Silent()),
        resume=resume,
    )


SETTINGS = TrainingSettings(precision="float32")


def state_and_batch(
    store: Store, *, device: torch.device = CPU
) -> tuple[TrainingState, Batch, torch.nn.Module]:
    plan = small_plan(store, dims=3, network=SMALL.model_copy(update={"dropout": 0.0}))
    cases = [store.case(case_id) for case_id in store.case_ids]
    sampler = PatchSampler(
        cases, patch_size=plan.patch_size, settings=SamplingSettings(), seed=0
    )
    draws = sampler.draw(5)
    taken = gather(cases, draws, spatial_dims=3)
    images, labels = taken.images.to(device), taken.labels.to(device)
    batch = Batch(images, labels, tuple(draws), taken.labels.numpy(), {})
    state = fresh_state(plan, SETTINGS, device)
    return state, batch, segmentation_loss(plan, SETTINGS)
