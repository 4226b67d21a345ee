"""The whole journey in one call: data, check, train, predict, score, picture."""

import itertools
import math
import time
from pathlib import Path

from medseg.datasets import Dataset, load_dataset
from medseg.datasets.doctor import examine
from medseg.errors import ShortBudgetError
from medseg.prediction.predict import predict
from medseg.prediction.scan import Scan
from medseg.progress import Progress, Silent
from medseg.runs.config import RunConfig
from medseg.runs.train import train
from medseg.scoring.evaluate import evaluate
from medseg.settings import parse_settings
from medseg.store import Store
from medseg.testing.phantom import SIMULATION_NOTE, make_phantom_study
from medseg.training.settings import format_duration

NUM_CASES = 24
BUDGET = "3m"
"""Time to train, where it is enough for a model at all."""
PATIENCE = 3
"""Elsewhere: times the least that a model needs, some dozens of steps."""


def demo(
    out: Path,
    *,
    data: Path | None = None,
    budget: str | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> Path:
    """Runs every step on a simulated study, or on the data set that is given.

    Args:
        out: Where everything goes.
        data: A data set of any understood layout instead of the simulated study.
        budget: Time to train; None takes `BUDGET`, and more where a machine is so slow
            or so busy that it would train nothing.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:n``.
        progress: Shows progress.

    Returns:
        The run's folder; scores of its held-out cases are in ``OUT/scores``.

    Raises:
        SettingsError: The budget is no duration.
        ShortBudgetError: The budget that was given is too short here.
        MedsegError: A step failed.
    """
    progress = progress or Silent()
    started = time.monotonic()
    length = {"training": {"budget": BUDGET if budget is None else budget}}
    config = parse_settings(RunConfig, length, source="demo")
    folder = data or _simulate(out / "data", progress)
    dataset = load_dataset(folder)
    _check(folder, progress)
    config = config.replaced(data=folder)
    run = _free_name(out / "runs" / "demo")
    try:
        trained = train(config, run, device=device, progress=progress)
    except ShortBudgetError as error:
        if budget is not None:
            raise
        longer = format_duration(math.ceil(PATIENCE * error.least_seconds))
        progress.say(f"{error}\nso the demo trains anew, with --budget {longer}")
        config = config.replaced(training=config.training.replaced(budget=longer))
        trained = train(config, run, device=device, progress=progress)
    progress.say("\npredicting the held-out scans anew, from their files")
    scans = _held_out_scans(dataset, trained.store)
    predict(run, scans, out / "predictions", device=device, progress=progress)
    result = evaluate(
        out / "predictions", folder, out / "scores", only_predicted=True
    )  # the others were trained on
    minutes = (time.monotonic() - started) / 60
    progress.say(f"\nthe {len(scans)} cases that were held out:\n{result.to_text()}")
    if data is None:
        progress.say(f"\n{SIMULATION_NOTE}")
    progress.say(f"\nthe journey took {minutes:.1f} minutes")
    return run


def _simulate(folder: Path, progress: Progress) -> Path:
    if not (folder / "dataset.json").is_file():
        make_phantom_study(folder, num_cases=NUM_CASES, progress=progress)
    return folder


def _free_name(folder: Path) -> Path:
    """The folder, or the first of folder_2, folder_3, ... that is not there yet."""
    later = (folder.with_name(f"{folder.name}_{n}") for n in itertools.count(2))
    return next(p for p in itertools.chain([folder], later) if not p.exists())


def _check(folder: Path, progress: Progress) -> None:
    report = examine(folder, progress=progress)
    progress.say(f"doctor: {report.verdict}")


def _held_out_scans(dataset: Dataset, store: Store) -> list[Scan]:
    _, held_out = store.split(0)
    return [
        Scan.of_files(case_id, dataset.case(case_id).images) for case_id in held_out
    ]
