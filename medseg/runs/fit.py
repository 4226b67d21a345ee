"""A run's fit: its cases where they are read fastest, its length, its validation."""

import numpy as np

from medseg.errors import SettingsError
from medseg.runs.setup import RunSetup
from medseg.sampling import PatchSampler
from medseg.store import StoredCase
from medseg.training.batches import BatchSource
from medseg.training.checkpoint import load_checkpoint
from medseg.training.length import RunLength, StepLength, TimeBudget
from medseg.training.logger import RunLogger
from medseg.training.loop import FitResult, RunContext, fit
from medseg.training.resident import ResidentCases, choose_cache


def fit_run(
    run: RunSetup, logger: RunLogger, *, resume: bool, profile: bool
) -> FitResult:
    """Trains the run's network on the cases that are not held out.

    Args:
        run: What was settled.
        logger: Told of losses and validation scores.
        resume: Continue from the checkpoint in the run's folder.
        profile: Write a trace of some steps to ``profile/`` in the folder.

    Raises:
        LostProcessError: Another process of the same run ended.
        TrainingError: Training failed, or the checkpoint cannot be continued.
        OutputError: The run's folder cannot be written.
    """
    identity, initial = run.identity, None
    if run.parent is not None and not resume:
        initial = run.parent.weights(run.plan)
    return fit(
        run.plan,
        run.settings,
        batches=batches_of(run),
        validation_cases=_validation_cases(run),
        device=run.device,
        length=_length(run, identity, resume=resume),
        context=RunContext(run.out, identity, logger, run.progress, run.processes),
        initial=initial,
        resume=resume,
        profile=profile,
    )


def batches_of(run: RunSetup) -> BatchSource:
    """The batches of a run, from its training cases alone."""
    settings = run.settings
    cases = [run.store.case(case_id) for case_id in run.train_ids]
    resident = _brought_near(cases, run)
    sampler = PatchSampler(
        cases,
        patch_size=run.plan.patch_size,
        settings=settings.sampling,
        seed=settings.seed,
    )
    assert settings.augmentation is not None  # decided before
    return BatchSource(
        cases,
        sampler,
        plan=run.plan,
        augmentation=settings.augmentation,
        seed=settings.seed,
        device=run.device,
        processes=run.processes,
        resident=resident,
    )


def _brought_near(cases: list[StoredCase], run: RunSetup) -> ResidentCases | None:
    """The cases on the GPU; None where they stay on disk, or are read into memory."""
    cache, why = choose_cache(run.settings.sampling.cache, cases, run.device)
    if cache == "ram":
        for case in cases:
            case.keep_in_memory()
    if cache != "gpu":
        return None
    run.progress.say(f"training cases lie on the GPU ({why})")
    dims = run.plan.spatial_dims
    return ResidentCases(cases, device=run.device, spatial_dims=dims)


def _validation_cases(run: RunSetup) -> list[StoredCase]:
    """Held-out cases that validation scores in training: a fixed random choice."""
    order = np.random.default_rng(run.settings.seed).permutation(len(run.held_out))
    chosen = sorted(order[: run.settings.validation_cases])
    return [run.store.case(run.held_out[index]) for index in chosen]


def _length(run: RunSetup, identity: str, *, resume: bool) -> RunLength:
    settings = run.settings
    if settings.clock == "cpu" and run.device.type != "cpu":
        raise SettingsError(
            f"training.clock: cpu counts what the processor computes, and this run is "
            f"on {run.device}; use wall, or --device cpu"
        )
    if settings.budget is not None:
        used = 0.0
        if resume:
            used = float(load_checkpoint(run.out, identity=identity)["seconds"])
        return TimeBudget(settings.budget, used=used, clock=settings.clock)
    if settings.steps is not None:
        return StepLength(settings.steps)
    assert settings.epochs is not None  # decided before
    per_epoch = max(1, round(len(run.train_ids) / run.plan.batch_size))
    return StepLength(settings.epochs * per_epoch)
