"""Runs that a user names, by their folders or their ids in MLflow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.errors import MissingFileError
from medseg.studies.common_parts import PART
from medseg.studies.comparison import joined_folds, scores_of_run
from medseg.studies.run_facts import RunFacts, facts_of

if TYPE_CHECKING:
    import pandas as pd


def labels_of(runs: Sequence[tuple[str, str]]) -> list[str]:
    """What each of the named runs is called: its name alone where that says it all."""
    short = [
        name if Path(run).name in name else f"{name} ({Path(run).name})"
        for name, run in runs
    ]
    return [
        label if short.count(label) == 1 else f"{name} ({run})"
        for label, (name, run) in zip(short, runs, strict=True)
    ]


def facts_of_named(
    name: str, run: str, label: str, failure: str, tracking_uri: str | None
) -> RunFacts:
    """What is known of a run that was named by its folder or by its id in MLflow."""
    if Path(run).is_dir():
        return facts_of(label, name, Path(run), failure=failure)
    if failure:
        return RunFacts(label, name, failure=failure)
    from medseg.tracking.fetch import find_tracking_uri, training_of

    fold, seed, steps = training_of(run, tracking_uri=find_tracking_uri(tracking_uri))
    return RunFacts(label, name, fold=fold, seed=seed, steps=steps)


def scored_names(
    runs: Sequence[tuple[str, str]], labels: Sequence[str], tracking_uri: str | None
) -> tuple[dict[str, pd.DataFrame], dict[str, str]]:
    """Scores by name of the runs that have some, and why the others have not.

    Where a name lacks one of its runs, each case is a part of its own: a pair is then
    compared on the cases that both were scored on.

    Raises:
        MissingFileError: Fewer than two names have scores because of missing runs.
        DatasetError: Two runs of one name share a case.
    """
    found: dict[str, list[pd.DataFrame]] = {name: [] for name, _ in runs}
    failures: dict[str, MissingFileError] = {}
    incomplete = set()
    for (name, run), label in zip(runs, labels, strict=True):
        try:
            found[name].append(scores_of_run(run, tracking_uri))
        except MissingFileError as error:
            failures[label] = error
            incomplete.add(name)
    tables = {name: joined_folds(name, t) for name, t in found.items() if t}
    if failures and len(tables) < 2:
        raise next(iter(failures.values()))
    if incomplete & set(tables):
        tables = {n: t.assign(**{PART: t["case_id"]}) for n, t in tables.items()}
    return tables, {label: str(error) for label, error in failures.items()}
