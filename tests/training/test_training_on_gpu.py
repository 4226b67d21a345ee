"""What only a GPU can show: cases that lie on it, a run on it, a compiled step."""

import pytest
import torch
from small_runs import SMALL, Interrupted, small_plan, state_and_batch

from medseg.augmentation.settings import AugmentationSettings
from medseg.progress import Silent
from medseg.sampling import PatchSampler, SamplingSettings, gather
from medseg.store import Store
from medseg.training.batches import BatchSource
from medseg.training.compilation import compile_if_faster
from medseg.training.length import RunLength, StepLength
from medseg.training.logger import NullLogger
from medseg.training.loop import FitResult, RunContext, fit
from medseg.training.resident import ResidentCases, choose_cache
from medseg.training.settings import TrainingSettings

pytestmark = pytest.mark.gpu
CUDA = torch.device("cuda")


def train(
    store: Store,
    folder: object,
    *,
    resident: bool,
    settings: TrainingSettings | None = None,
    dropout: float = 0.0,
    length: RunLength | None = None,
    resume: bool = False,
) -> FitResult:
    network = SMALL.model_copy(update={"dropout": dropout})
    plan = small_plan(store, dims=3, network=network)
    cases = [store.case(case_id) for case_id in store.split(0)[0]]
    sampler = PatchSampler(
        cases, patch_size=plan.patch_size, settings=SamplingSettings(), seed=0
    )
    kept = ResidentCases(cases, device=CUDA, spatial_dims=3) if resident else None
    batches = BatchSource(
        cases,
        sampler,
        plan=plan,
        augmentation=AugmentationSettings(),
        seed=0,
        device=CUDA,
        resident=kept,
    )
    return fit(
        plan,
        settings or TrainingSettings(precision="float32"),
        batches=batches,
        validation_cases=[store.case(case_id) for case_id in store.split(0)[1]],
        device=CUDA,
        length=length or StepLength(30),
        context=RunContext(folder, "same", NullLogger(), Silent()),
        resume=resume,
    )


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_a_resumed_run_equals_an_uninterrupted_one(
    tiny_store: Store, tmp_path: object, precision: str
) -> None:
    settings = TrainingSettings(precision=precision, deterministic=True)
    options = {"resident": True, "settings": settings, "dropout": 0.2}
    twelve = StepLength(12)  # the learning rate follows the length
    whole = train(tiny_store, tmp_path / "whole", length=twelve, **options)
    cut = Interrupted(12, stop_after=5)
    train(tiny_store, tmp_path / "cut", length=cut, **options)
    resumed = train(tiny_store, tmp_path / "cut", length=twelve, resume=True, **options)
    assert resumed.steps == 12
    for one, other in zip(
        whole.network.parameters(), resumed.network.parameters(), strict=True
    ):
        assert torch.equal(one, other)


def test_every_cache_gives_the_same_run(tiny_store: Store, tmp_path: object) -> None:
    # algorithms that differ from run to run would let the weights drift apart
    settings = TrainingSettings(precision="float32", deterministic=True)
    runs = [
        train(tiny_store, tmp_path / str(n), resident=bool(n), settings=settings)
        for n in range(2)
    ]
    ends = [torch.cat([p.flatten() for p in r.network.parameters()]) for r in runs]
    assert torch.allclose(*ends, atol=1e-3)
    assert {"forward", "backward", "optimiser", "augmentation"} <= set(runs[0].shares)


def test_resident_cases_give_the_patches_of_the_store(tiny_store: Store) -> None:
    cases = [tiny_store.case(case_id) for case_id in tiny_store.case_ids]
    assert choose_cache("auto", cases, CUDA)[0] == "gpu"
    sampler = PatchSampler(
        cases, patch_size=(40, 12, 40), settings=SamplingSettings(), seed=3
    )
    draws = sampler.draw(6)
    expected = gather(cases, draws, spatial_dims=3)
    resident = ResidentCases(cases, device=CUDA, spatial_dims=3)
    images, labels, _ = resident.gather(draws, padding="zero")
    assert torch.equal(images.cpu(), expected.images)
    assert torch.equal(labels.cpu(), expected.labels)


def test_compiling_leaves_the_weights_alone(tiny_store: Store) -> None:
    state, batch, loss = state_and_batch(tiny_store, device=CUDA)
    before = [p.clone() for p in state.network.parameters()]
    told: list[str] = []
    progress = Silent()
    progress.say = told.append  # type: ignore[method-assign]
    compile_if_faster(state, batch, loss.to(CUDA), progress=progress)
    (line,) = told
    assert line.startswith("a step forward and back"), line  # it was compiled
    for one, other in zip(before, state.network.parameters(), strict=True):
        assert torch.equal(one, other)
