"""Training from Python: a data set in, a scored run out."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

from medseg.api.shown import ShowProgress, shown
from medseg.console import Console
from medseg.plugins import block_of, name_of
from medseg.runs import train as training
from medseg.runs.config import RunConfig, configure
from medseg.runs.run import Run
from medseg.studies.cross_validate import cross_validate
from medseg.studies.train_ensemble import train_ensemble
from medseg.types import AnyPath

Part: TypeAlias = str | Mapping[str, Any] | object
"""A registered name or path; a block as in YAML, with ``name`` and ``args``; or the
object itself: a class or function, or one that is finished."""


def with_parts(
    values: Mapping[str, Any],
    *,
    network: Part | None = None,
    loss: Part | None = None,
    sampler: Part | None = None,
    transforms: Sequence[Part] = (),
    optimizer: Part | None = None,
    schedule: Part | None = None,
    metrics: Sequence[Part] = (),
    trackers: Sequence[Part] = (),
    readers: Sequence[Part] = (),
    layouts: Sequence[Part] = (),
) -> dict[str, Any]:
    """A configuration's values with the parts that a call gives."""
    result = dict(values)
    places: dict[str, Any] = {
        "plan.network": None if network is None else block_of(network),
        "training.loss": None if loss is None else block_of(loss),
        "training.optimizer": None if optimizer is None else block_of(optimizer),
        "training.schedule": None if schedule is None else block_of(schedule),
        "training.augmentation.transforms": list(map(block_of, transforms)),
        "metrics.extra": list(map(block_of, metrics)),
        "tracking.loggers": list(map(block_of, trackers)),
        "readers": list(map(name_of, readers)),
        "layouts": list(map(name_of, layouts)),
    }
    if sampler is not None:
        block = block_of(sampler)
        places["training.sampling.strategy"] = block["name"]
        places["training.sampling.args"] = block.get("args", {})
    for place, value in places.items():
        if value:
            _set(result, place.split("."), value)
    return result


def _set(values: dict[str, Any], keys: list[str], value: Any) -> None:
    """Sets a nested value, in copies of the mappings on the way."""
    for key in keys[:-1]:
        values[key] = dict(values.get(key) or {})
        values = values[key]
    values[keys[-1]] = value


def train(
    data: AnyPath | None = None,
    *,
    out: AnyPath,
    budget: str | None = None,
    epochs: int | None = None,
    steps: int | None = None,
    config: AnyPath | Mapping[str, Any] | RunConfig | None = None,
    init: AnyPath | Run | None = None,
    fold: int | Literal["all"] | None = 0,
    networks: int | None = None,
    settings: Sequence[str] = (),
    root: AnyPath | None = None,
    network: Part | None = None,
    loss: Part | None = None,
    sampler: Part | None = None,
    transforms: Sequence[Part] = (),
    optimizer: Part | None = None,
    schedule: Part | None = None,
    metrics: Sequence[Part] = (),
    trackers: Sequence[Part] = (),
    readers: Sequence[Part] = (),
    layouts: Sequence[Part] = (),
    device: str = "auto",
    resume: bool = False,
    progress: ShowProgress = True,
) -> Run:
    """Trains a model, scores its held-out cases, and tracks it all in MLflow.

    Args:
        data: A data set of any layout that `load_dataset` takes, or a prepared store.
        out: The run's folder.
        budget: Time to train, such as ``"15m"``; preparing the data before and scoring
            the held-out cases after come on top.
        epochs: Instead of a budget: passes over as many patches as there are cases.
        steps: Instead of a budget: optimiser steps.
        config: A YAML file, the name of one that comes with medseg, such as
            ``"hippocampus_3d"``, or its values as nested dictionaries; by default
            everything is decided by the data.
        init: A trained model to begin with: a run, a model folder, a trained folder of
            nnU-Net, or a name such as ``"nuclei"``; see docs/fine-tuning.md. More about
            it, such as a frozen encoder, under ``training.init`` of the configuration.
        fold: Which is held out and scored; None trains on all cases, ``"all"`` trains a
            run for each.
        networks: Train so many, with seeds one apart, that predict together.
        settings: Single values, such as ``["training.seed=1"]``.
        root: Folder that a manifest's paths start from.
        network: Your own or MONAI's, as everything below: the object (a class, a
            function, one that is finished), ``"package.module:Name"``,
            ``"my_file.py:Name"``, or a block with ``name`` and ``args``; see
            docs/plugins.md for what each must do.
        loss: Called with logits and labels.
        sampler: Chooses patches.
        transforms: Change batches or, MONAI's, single patches; after our own.
        optimizer: A subclass of torch's.
        schedule: The factor on the learning rate by the share of the run.
        metrics: Of masks, beside our own.
        trackers: Told what MLflow is told.
        readers: Of files that medseg does not know.
        layouts: Of data sets.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:n``.
        resume: Continue the run in the folder, to the step.
        progress: Show how far it is.

    Returns:
        The run: scores, model, report, curves.

    Raises:
        SettingsError: A value is wrong, or the folder holds a run already.
        MedsegError: The data cannot be used, or training failed.
        KeyboardInterrupt: Training was stopped; a checkpoint lets ``resume`` continue.

    Examples:
        >>> import medseg
        >>> study = medseg.testing.make_tiny_study("tiny")
        >>> small = {"name": "unet", "channels": [4, 8], "strides": [1, 2]}
        >>> run = medseg.train(
        ...     "tiny",
        ...     steps=20,
        ...     config={"plan": {"network": small}},
        ...     out="runs/tiny",
        ...     progress=False,
        ... )
        >>> sorted(run.scores)[:2]
        ['assd_mm', 'dice']
    """
    resolved = configure(
        config,
        settings,
        data=data,
        root=root,
        fold=0 if fold == "all" else fold,
        budget=budget,
        epochs=epochs,
        steps=steps,
        init=init.folder if isinstance(init, Run) else init,
        change=partial(
            with_parts,
            network=network,
            loss=loss,
            sampler=sampler,
            transforms=transforms,
            optimizer=optimizer,
            schedule=schedule,
            metrics=metrics,
            trackers=trackers,
            readers=readers,
            layouts=layouts,
        ),
    )
    told, folder = shown(progress), Path(out)
    if isinstance(told, Console):
        told.log_to(folder / "run.log")
    if fold == "all":
        cross_validate(resolved, folder, device=device, progress=told)
    elif networks:
        train_ensemble(
            resolved, folder, networks=networks, device=device, progress=told
        )
    else:
        done = training.train(
            resolved, folder, device=device, resume=resume, progress=told
        )
        if done.fit.interrupted:
            raise KeyboardInterrupt
    return Run(folder)
