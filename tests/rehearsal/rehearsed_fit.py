"""Whole runs on a fake GPU."""

from dataclasses import dataclass
from pathlib import Path

import torch
from fake_gpu import FakeGPU
from training_parts import named_parts

from medseg.networks.settings import UNetSettings
from medseg.plan import Plan
from medseg.progress import Silent
from medseg.runs.resolve import settle_training
from medseg.sampling import PatchSampler
from medseg.store import Store
from medseg.training.batches import BatchSource
from medseg.training.fit_result import FitResult
from medseg.training.length import StepLength
from medseg.training.logger import NullLogger
from medseg.training.loop import fit
from medseg.training.resident import ResidentCases
from medseg.training.settings import TrainingSettings
from medseg.training.surroundings import Surroundings

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

    def run(self, gpu: FakeGPU, *, resume: bool = False) -> FitResult:
        """Trains as `medseg train` does; validation looks at one whole case."""
        train_ids, validation_ids = self.store.split(0)
        cases = [self.store.case(case_id) for case_id in train_ids]
        settings = settle_training(self.settings, self.plan)
        device = torch.device(self.device)
        sampler = PatchSampler(
            cases,
            patch_size=self.plan.patch_size,
            settings=settings.sampling,
            seed=settings.seed,
        )
        with gpu, named_parts(gpu.seen):
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
                validation_cases=[self.store.case(validation_ids[0])],
                device=device,
                length=StepLength(self.steps),
                surroundings=Surroundings(
                    self.folder, "rehearsal", NullLogger(), Silent()
                ),
                resume=resume,
            )


def small_plan(store: Store, *, dims: int = 3, **changes: object) -> Plan:
    """The store's plan with small patches and a small network with two outputs."""
    values = {
        "spatial_dims": dims,
        "patch_size": (16, 16, 16)[:dims],
        "batch_size": 2,
        "network": NETWORK,
    }
    return store.plan.model_copy(update=values | changes)
