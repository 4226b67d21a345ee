"""Whole runs on a fake GPU."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import torch
from fake_gpu import FakeGPU
from training_parts import named_parts

from medseg.networks.settings import UNetSettings
from medseg.plan import Plan
from medseg.progress import Silent
from medseg.runs.resolve import settle_training
from medseg.sampling import PatchSampler
from medseg.store import Store, StoredCase
from medseg.training.batches import BatchSource
from medseg.training.context import FitResult, RunContext
from medseg.training.length import StepLength
from medseg.training.logger import NullLogger
from medseg.training.loop import fit
from medseg.training.resident import ResidentCases
from medseg.training.settings import TrainingSettings

NETWORK = UNetSettings(channels=(8, 16, 32), strides=(1, 2, 2))


@dataclass(frozen=True)
class Rehearsal:
    """A run to rehearse: on what, and how."""

    store: Store
    plan: Plan
    folder: Path
    settings: TrainingSettings
    resident: bool = True
    device: str = "cuda"
    steps: int = 3
    validations: bool = True
    """Validation on the way, at one whole case."""

    def run(self, gpu: FakeGPU, *, resume: bool = False) -> FitResult:
        """Trains as `medseg train` does."""
        train_ids, validation_ids = self.store.split(0)
        cases = [self.store.case(case_id) for case_id in train_ids]
        looked_at = validation_ids[:1] if self.validations else ()
        settings = settle_training(self.settings, self.plan)
        device = torch.device(self.device)
        sampler = PatchSampler(
            cases,
            patch_size=self.plan.patch_size,
            settings=settings.sampling,
            seed=settings.seed,
        )
        with gpu, named_parts(gpu.seen), _counted_in_all_classes(self.plan):
            resident = None
            if self.resident:
                dims = self.plan.spatial_dims
                resident = ResidentCases(cases, device=device, spatial_dims=dims)
            batches = BatchSource(
                cases,
                sampler,
                plan=self.plan,
                augmentation=settings.augmentation,
                seed=settings.seed,
                device=device,
                resident=resident,
            )
            return fit(
                self.plan,
                settings,
                batches=batches,
                validation_cases=[self.store.case(i) for i in looked_at],
                device=device,
                length=StepLength(self.steps),
                context=RunContext(self.folder, "rehearsal", NullLogger(), Silent()),
                resume=resume,
            )


@contextmanager
def _counted_in_all_classes(plan: Plan) -> Iterator[None]:
    """Lets cases count a voxel of classes that the plan has beyond the store's."""

    def counts(case: StoredCase) -> tuple[int, ...]:
        known = case.index.num_voxels
        return (*known, *[1] * (plan.targets.num_classes - len(known)))

    with mock.patch.object(StoredCase, "num_voxels", property(counts)):
        yield


def small_plan(store: Store, *, dims: int = 3, **changes: object) -> Plan:
    """The store's plan with small patches and a small network with two outputs."""
    values = {
        "spatial_dims": dims,
        "patch_size": (16, 16, 16)[:dims],
        "batch_size": 2,
        "network": NETWORK,
    }
    return store.plan.model_copy(update=values | changes)
