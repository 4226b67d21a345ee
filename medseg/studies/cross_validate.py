"""Every fold held out in turn: each case is scored by a model that never saw it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from medseg.device import pick_device
from medseg.evaluation.pairs import CasePair
from medseg.progress import Progress, Silent
from medseg.reporting.content import NamedTable
from medseg.reporting.text import format_table
from medseg.runs.config import RunConfig
from medseg.runs.data import open_data, split
from medseg.runs.held_out import FOLDER, prediction_path
from medseg.runs.time_spent import TimeSpent, time_of
from medseg.runs.tracked_run import require_tracking
from medseg.scoring.result import Evaluation, score, write_evaluation
from medseg.store import Store
from medseg.studies.nested_runs import on_store, open_parent, report_runs, train_runs


@dataclass(frozen=True)
class CrossValidation:
    """Result of `cross_validate`.

    Attributes:
        folder: Holds a run per fold; ``medseg predict`` takes them as an ensemble.
        runs: The folds' run folders.
        folds: Which fold each of them held out.
        store: The prepared data.
        evaluation: Of all cases, each scored by the run that held it out.
        spent: Where the time of all folds and of this went.
        tables: What the study adds to the scores.
    """

    folder: Path
    runs: tuple[Path, ...]
    folds: tuple[int, ...]
    store: Store
    evaluation: Evaluation
    spent: TimeSpent
    tables: tuple[NamedTable, ...] = ()

    def held_out(self) -> Iterator[tuple[Path, str]]:
        """Each case, with the run that held it out; the first where several did."""
        return _held_out(self.store, self.folds, self.runs)

    def closing(self) -> str:
        """How a study ends: its own tables, where all is, what took longest."""
        parts = [
            f"\n{named.title}\n{format_table(named.table)}\n{named.note}".rstrip()
            for named in self.tables
            if len(named.table) <= named.rows_in_text
        ]
        places = {
            "table": self.folder / FOLDER / "cases.csv",
            "mosaic": self.folder / FOLDER / "mosaic.png",
            "report": self.folder / "report.html",
            "tracking": f"medseg ui {self.folder.parent}",
            "longest": self.spent.describe(),
        }
        lines = [f"{name:<10} {place}" for name, place in places.items()]
        return "\n".join([*parts, "", *lines])


TableMaker = Callable[[CrossValidation], Sequence[NamedTable]]
"""What a study adds to the scores that every study has."""


def cross_validate(
    config: RunConfig,
    out: Path,
    *,
    folds: Sequence[int] | None = None,
    tables: TableMaker | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> CrossValidation:
    """Trains a run per fold and scores every case out of fold.

    Finished folds are kept and interrupted ones resumed, so a stopped call continues.
    Each fold is a nested MLflow run.

    Args:
        config: The resolved configuration of every fold.
        out: Folder of the folds' runs, the scores over all of them and the report.
        folds: Which folds; None takes all of the data set's.
        tables: Makes the study's own tables, for files, report and tracking.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:n``.
        progress: Shows progress.

    Raises:
        SettingsError: The configuration is wrong, or a fold is missing or has no case
            to train on or to validate.
        MedsegError: Data or folder cannot be used, or training failed.
        KeyboardInterrupt: A signal ended a fold; the same call continues.
    """
    progress = progress or Silent()
    require_tracking(config, out)
    spent = TimeSpent()
    with spent.measure("preparing data"):
        store = open_data(config, out, device=pick_device(device), progress=progress)
    every = tuple(given.fold for given in store.splits)
    chosen = every if folds is None else tuple(folds)
    for fold in chosen:
        split(store, fold)
    config = on_store(config, store, out)
    runs = tuple(out / f"fold{fold}" for fold in chosen)
    with ExitStack() as stack:
        logger = open_parent(config, store, out, progress, stack)
        configs = {
            run: config.replaced(fold=fold)
            for fold, run in zip(chosen, runs, strict=True)
        }
        train_runs(configs, out, device=device, progress=progress)
        spent.add(time_of(runs).seconds)
        with spent.measure("scoring"):
            evaluation = _score(store, chosen, runs, out, config, progress)
        result = CrossValidation(out, runs, chosen, store, evaluation, spent)
        if tables is not None:
            with spent.measure("tables of the study"):
                result = replace(result, tables=tuple(tables(result)))
        report_runs(
            out,
            store,
            evaluation,
            runs={f"fold {k}": run for k, run in zip(chosen, runs, strict=True)},
            subtitle=f"{len(runs)} folds, every case scored by the model that "
            "held it out",
            tables=result.tables,
            spent=spent,
            logger=logger,
            progress=progress,
        )
    progress.say(evaluation.to_text())
    return result


def _held_out(
    store: Store, folds: Sequence[int], runs: Sequence[Path]
) -> Iterator[tuple[Path, str]]:
    """Each case that a fold validates, once, with the first run that held it out."""
    seen: set[str] = set()
    for fold, run in zip(folds, runs, strict=True):
        for case_id in store.split(fold)[1]:
            if case_id not in seen:
                seen.add(case_id)
                yield run, case_id


def _score(
    store: Store,
    folds: Sequence[int],
    runs: Sequence[Path],
    out: Path,
    config: RunConfig,
    progress: Progress,
) -> Evaluation:
    """Scores every case by the label map of the run that held it out."""
    pairs = [
        CasePair(
            case_id,
            prediction_path(run, case_id),
            store.label(case_id),
            store.patients[case_id],
            store.unannotated(case_id),
        )
        for run, case_id in _held_out(store, folds, runs)
    ]
    twice = sum(len(store.split(fold)[1]) for fold in folds) - len(pairs)
    if twice:
        progress.say(
            f"{twice} label maps of cases that an earlier fold held out too are left "
            "out of the scores, so that each case counts once"
        )
    evaluation = score(pairs, store.plan.labels, config.metrics, progress=progress)
    write_evaluation(out / FOLDER, evaluation)
    return evaluation
