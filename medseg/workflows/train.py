"""Trains one model: data in, a scored, tracked run folder out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import torch

from medseg.errors import MedsegError, SettingsError
from medseg.files import hash_text, write_text
from medseg.inference.predictor import Predictor
from medseg.instances.decoding import DecodingSettings
from medseg.model import Provenance, save_model
from medseg.plan import Plan, write_plan
from medseg.postprocessing import CleaningRule, rules_in_words
from medseg.preparation import Store, StoredCase
from medseg.progress import Progress, Silent
from medseg.sampling import Ledger, PatchSampler
from medseg.training.batches import BatchSource
from medseg.training.checkpoint import CHECKPOINT, load_checkpoint
from medseg.training.length import RunLength, StepLength, TimeBudget
from medseg.training.loop import FitResult, Surroundings, fit
from medseg.training.ranks import Ranks, join_ranks
from medseg.training.resident import ResidentCases, choose_cache
from medseg.training.settings import TrainingSettings
from medseg.workflows.data import open_data, split
from medseg.workflows.decoding_choice import choose_decoding, start_decoding
from medseg.workflows.device import describe_device, pick_device
from medseg.workflows.evaluation_result import Evaluation
from medseg.workflows.postprocessing_choice import choose_postprocessing
from medseg.workflows.resolve import change_plan, settle_training, with_mirrors
from medseg.workflows.run_config import RunConfig, code_commit, dump_config
from medseg.workflows.time_spent import TimeSpent
from medseg.workflows.tracked_run import log_files, tracked_run
from medseg.workflows.validation import (
    dice_of_structures,
    score_held_out,
    segment_held_out,
    summary_metrics,
    write_report,
)


@dataclass(frozen=True)
class TrainedRun:
    """What `train` came to.

    Attributes:
        folder: The run's folder.
        store: The prepared data.
        fit: How training went.
        evaluation: Of the held-out cases; None where nothing was held out, or the run
            was interrupted.
    """

    folder: Path
    store: Store
    fit: FitResult
    evaluation: Evaluation | None


def train(
    config: RunConfig,
    out: Path,
    *,
    device: str = "auto",
    resume: bool = False,
    profile: bool = False,
    parent_folder: Path | None = None,
    progress: Progress | None = None,
) -> TrainedRun:
    """Prepares the data if need be, trains, scores the held-out cases, tracks it all.

    Args:
        config: The resolved configuration; `data` must be set.
        out: The run's folder.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:n``.
        resume: Continue the run in the folder.
        profile: Write a trace of some steps to ``profile/`` in the folder.
        parent_folder: Folder of the tracked study that the run is part of.
        progress: Shows progress.

    Raises:
        SettingsError: The configuration is wrong, or the folder holds another run.
        LostProcessError: Another process of the same run ended.
        MedsegError: Data or folder cannot be used, or training failed.
    """
    where = pick_device(device)
    if not resume and (out / CHECKPOINT).exists():
        raise SettingsError(
            f"{out}: holds a run already; add --resume to continue it, or choose "
            "another folder"
        )
    with join_ranks(where) as ranks:
        return _train(
            config,
            out,
            device=where,
            resume=resume,
            profile=profile,
            parent_folder=parent_folder,
            ranks=ranks,
            progress=progress if progress and ranks.leads else Silent(),
        )


def _train(
    config: RunConfig,
    out: Path,
    *,
    device: torch.device,
    resume: bool,
    profile: bool,
    parent_folder: Path | None,
    ranks: Ranks,
    progress: Progress,
) -> TrainedRun:
    """The run, alone or as one of several processes; the first of them writes."""
    where, spent = device, TimeSpent()
    with spent.measure("preparing data"):
        store = _open_together(config, out, where, ranks, progress)
    plan = change_plan(store.plan, config, fingerprint=store.fingerprint)
    settings = settle_training(config.training, plan)
    plan = with_mirrors(plan, settings)
    config = config.model_copy(update={"training": settings})
    train_ids, held_out = split(store, config.fold)
    if ranks.leads:
        write_text(out / "config.yaml", dump_config(config))
        write_plan(out / "plan.yaml", plan)
    identity = _identity(store, plan, config)
    with tracked_run(
        config if ranks.leads else _untracked(config),
        plan,
        store,
        out,
        resume=resume,
        parent_folder=parent_folder,
        progress=progress,
    ) as logger:
        result = fit(
            plan,
            settings,
            batches=_batches(store, train_ids, plan, settings, where, ranks, progress),
            validation_cases=_some(store, held_out, settings),
            device=where,
            length=_length(settings, len(train_ids), plan, out, identity, resume),
            surroundings=Surroundings(out, identity, logger, progress, ranks),
            resume=resume,
            profile=profile,
        )
        _report_end(result, progress)
        spent.add(
            {
                f"training: {part}": share * result.seconds
                for part, share in result.shares.items()
            }
        )
        origin = Provenance(
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            commit=code_commit(),
            dataset=plan.name,
            dataset_hash=store.manifest_hash,
            store_key=identity,
            fold=config.fold,
            num_training_cases=len(train_ids),
            num_validation_cases=len(held_out),
            steps=result.steps,
            seconds=result.seconds,
            device=describe_device(where) + _in_processes(ranks),
        )
        decoding = _start_decoding(store, train_ids, plan)
        if ranks.leads:
            save_model(out / "model", result.network, plan, origin, decoding=decoding)
        if result.interrupted:
            logger.finish("KILLED")
            progress.say("interrupted, not scored; --resume continues")
            return TrainedRun(out, store, result, None)
        evaluation = None
        if held_out:
            predictor = Predictor(result.network, plan, where, config.inference)
            if decoding is not None:
                with spent.measure("choosing how objects are found"):
                    decoding = _choose_decoding(
                        predictor, store, held_out, decoding, config, ranks, progress
                    )
                predictor = replace(predictor, decoding=decoding)
            segment_held_out(
                out,
                store,
                held_out,
                predictor=predictor,
                ranks=ranks,
                spent=spent,
                progress=progress,
            )
        if not ranks.leads:
            return TrainedRun(out, store, result, None)
        if held_out:
            evaluation = _score(
                out,
                store,
                held_out,
                config,
                plan,
                result,
                origin,
                decoding,
                spent=spent,
                progress=progress,
            )
            logger.log_metrics(summary_metrics(evaluation), step=result.steps)
        spent.write(out)
        log_files(out, logger)
        logger.log_metrics(
            {f"time/{part}": share for part, share in result.shares.items()},
            step=result.steps,
        )
        if result.utilisation is not None:
            logger.log_metrics(
                {"time/device_in_use": result.utilisation}, step=result.steps
            )
    return TrainedRun(out, store, result, evaluation)


def _open_together(
    config: RunConfig,
    out: Path,
    device: torch.device,
    ranks: Ranks,
    progress: Progress,
) -> Store:
    """The store; the first process prepares it while the others wait."""
    folder = ""
    if ranks.leads:
        store = open_data(config, out, device=device, progress=progress)
        folder = str(store.folder)
    folder = ranks.gather(folder)[0]
    return store if ranks.leads else Store.open(Path(folder))


def _untracked(config: RunConfig) -> RunConfig:
    off = config.tracking.model_copy(update={"enabled": False})
    return config.model_copy(update={"tracking": off})


def _in_processes(ranks: Ranks) -> str:
    return f" in {ranks.size} processes" if ranks.size > 1 else ""


def _score(
    out: Path,
    store: Store,
    held_out: Sequence[str],
    config: RunConfig,
    plan: Plan,
    result: FitResult,
    origin: Provenance,
    decoding: DecodingSettings | None,
    *,
    spent: TimeSpent,
    progress: Progress,
) -> Evaluation:
    """Scores the held-out cases; the model and the report say what came of it."""
    evaluation = score_held_out(
        out,
        store,
        held_out,
        scheme=plan.labels,
        metrics=config.metrics,
        spent=spent,
        progress=progress,
    )
    dice = dice_of_structures(evaluation)
    scored = origin.model_copy(update={"validation_dice": dice})
    with spent.measure("choosing post-processing"):
        rules = _rules(config, plan, evaluation, progress)
    save_model(
        out / "model",
        result.network,
        plan,
        scored,
        postprocessing=rules or (),
        decoding=decoding,
    )
    write_report(
        out,
        store,
        evaluation,
        result,
        provenance=scored,
        rules=rules,
        spent=spent,
        progress=progress,
    )
    progress.say(evaluation.to_text())
    if rules is not None:
        progress.say(rules_in_words(rules))
    return evaluation


def _choose_decoding(
    predictor: Predictor,
    store: Store,
    held_out: Sequence[str],
    start: DecodingSettings,
    config: RunConfig,
    ranks: Ranks,
    progress: Progress,
) -> DecodingSettings:
    """How single objects are found; the first process chooses for all."""
    chosen = start
    if ranks.leads:
        chosen = choose_decoding(
            predictor,
            store,
            held_out,
            start=start,
            thresholds=config.metrics.instance_thresholds,
            progress=progress,
        )
        progress.say(f"objects: {chosen.describe()} ({chosen.reason})")
    first: DecodingSettings = ranks.gather(chosen)[0]
    return first


def _start_decoding(
    store: Store, train_ids: Sequence[str], plan: Plan
) -> DecodingSettings | None:
    """How single objects are found until it is chosen; None where none are learned."""
    if plan.instance_target == "none":
        return None
    return start_decoding(store, train_ids)


def _rules(
    config: RunConfig, plan: Plan, evaluation: Evaluation, progress: Progress
) -> tuple[CleaningRule, ...] | None:
    """Post-processing that helps on the held-out cases; None where none was sought."""
    if config.postprocessing == "none":
        return None
    pairs = [case.pair for case in evaluation.scored if not case.failure]
    try:
        return choose_postprocessing(pairs, plan.labels)
    except (MedsegError, OSError, MemoryError) as error:
        progress.warn(f"post-processing was not chosen: {error or 'not enough memory'}")
        return None


def _batches(
    store: Store,
    case_ids: Sequence[str],
    plan: Plan,
    settings: TrainingSettings,
    device: torch.device,
    ranks: Ranks,
    progress: Progress,
) -> BatchSource:
    cases = [store.case(case_id) for case_id in case_ids]
    cache, why = choose_cache(settings.sampling.cache, cases, device)
    resident = None
    if cache == "ram":
        for case in cases:
            case.keep_in_memory()
    if cache == "gpu":
        progress.say(f"training cases lie on the GPU ({why})")
        dims = plan.spatial_dims
        resident = ResidentCases(cases, device=device, spatial_dims=dims)
    sampler = PatchSampler(
        cases,
        patch_size=plan.patch_size,
        settings=settings.sampling,
        seed=settings.seed,
    )
    assert settings.augmentation is not None  # decided before
    return BatchSource(
        cases,
        sampler,
        plan=plan,
        augmentation=settings.augmentation,
        seed=settings.seed,
        device=device,
        ranks=ranks,
        resident=resident,
    )


def _some(
    store: Store, case_ids: Sequence[str], settings: TrainingSettings
) -> list[StoredCase]:
    """The held-out cases that are looked at on the way: a fixed random choice."""
    order = np.random.default_rng(settings.seed).permutation(len(case_ids))
    chosen = sorted(order[: settings.validation_cases])
    return [store.case(case_ids[index]) for index in chosen]


def _length(
    settings: TrainingSettings,
    num_cases: int,
    plan: Plan,
    out: Path,
    identity: str,
    resume: bool,  # noqa: FBT001 - private, passed through
) -> RunLength:
    if settings.budget is not None:
        used = 0.0
        if resume:
            used = float(load_checkpoint(out, identity=identity)["seconds"])
        return TimeBudget(settings.budget, used=used)
    if settings.steps is not None:
        return StepLength(settings.steps)
    assert settings.epochs is not None  # decided before
    per_epoch = max(1, round(num_cases / plan.batch_size))
    return StepLength(settings.epochs * per_epoch)


def _identity(store: Store, plan: Plan, config: RunConfig) -> str:
    """What a checkpoint must agree with: data, plan, and settings that matter.

    A run may be resumed with another length, and on another machine.
    """
    lasting = config.training.model_dump_json(
        exclude={
            "budget": True,
            "epochs": True,
            "steps": True,
            "checkpoint_every": True,
            "validation_share": True,
            "accumulate": True,
            "recompute": True,
            "compile": True,
            "early_stop": True,
            "sampling": {"cache"},
        }
    )
    decided = plan.model_dump_json(exclude={"reasons"})
    return hash_text(
        "\n".join([store.manifest_hash, decided, lasting, str(config.fold)])
    )


def _report_end(result: FitResult, progress: Progress) -> None:
    progress.say(
        f"{result.steps} steps in {result.seconds / 60:.1f} minutes"
        + (f", ended early: {result.stopped_by}" if result.stopped_by else "")
    )
    shares = sorted(result.shares.items(), key=lambda item: -item[1])
    progress.say(
        "where the time went: "
        + ", ".join(f"{part} {share:.0%}" for part, share in shares if share >= 0.005)
        + _device_in_use(result)
    )
    progress.say("what training was shown:\n" + _ledger_lines(result.ledger))


def _device_in_use(result: FitResult) -> str:
    if result.utilisation is None:
        return ""
    return f"; device in use {result.utilisation:.0%}"


def _ledger_lines(ledger: Ledger) -> str:
    """A line per structure and lesion size: what there is and what was shown."""
    lines = []
    for row in ledger.table().to_dict(orient="records"):
        line = f"  {row['structure']}, {row['size_bin']} voxels: "
        if row["size_bin"] == "all":
            line = (
                f"  {row['structure']}: in {row['patches_share']:.0%} of patches, "
                f"{row['voxels_share']:.2%} of voxels; "
            )
        lines.append(
            f"{line}{row['lesions_shown']} of {row['lesions']} components shown, "
            f"{row['shows_per_lesion']:.1f} times each"
        )
    return "\n".join(lines)
