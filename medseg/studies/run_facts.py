"""What each run of a comparison was: fold, seed, steps, scores, and why it failed."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from medseg.errors import MedsegError
from medseg.evaluation.settings import MetricSettings
from medseg.model import DESCRIPTION
from medseg.reporting.evidence import Evidence
from medseg.settings import parse_settings, read_yaml
from medseg.tables import read_frame

VALIDATION, CASES = "validation", "cases.csv"
PAGE = "report.html"


@dataclass(frozen=True)
class RunFacts:
    """One run, as far as it is known."""

    name: str
    variation: str
    folder: Path | None = None
    """Its folder; none for runs that only MLflow keeps."""
    fold: int | None = None
    seed: int | None = None
    steps: int | None = None
    failure: str = ""

    def link_from(self, out: Path) -> str:
        """Address of its report from a page in a folder; empty where there is none."""
        if self.folder is None or not (self.folder / PAGE).is_file():
            return ""
        try:
            relative = os.path.relpath(self.folder / PAGE, out)
        except ValueError:  # another drive of Windows
            return (self.folder / PAGE).resolve().as_uri()
        return Path(relative).as_posix()

    def scores(self, metrics: Sequence[str]) -> dict[str, float]:
        """Means over its held-out cases and structures; empty without scores."""
        if self.folder is None or not (self.folder / VALIDATION / CASES).is_file():
            return {}
        table = read_frame(self.folder / VALIDATION / CASES)
        shown = [metric for metric in metrics if metric in table]
        return {metric: float(table[metric].mean()) for metric in shown}


def facts_of(
    name: str, variation: str, folder: Path | None, *, failure: str = ""
) -> RunFacts:
    """What a run's folder says of it; what cannot be read is not known."""
    config = _values(None if folder is None else folder / "config.yaml")
    training = config.get("training")
    seed = training.get("seed") if isinstance(training, dict) else None
    return RunFacts(
        name,
        variation,
        folder,
        fold=_number(config.get("fold")),
        seed=_number(seed),
        steps=_steps(folder),
        failure=failure,
    )


def evidence_of(runs: Sequence[RunFacts]) -> Evidence:
    """How much training stands behind those runs that did not fail."""
    done = [run for run in runs if not run.failure]
    by_variation: dict[str, list[RunFacts]] = {}
    for run in done:
        by_variation.setdefault(run.variation, []).append(run)
    steps = [run.steps for run in done if run.steps is not None]
    return Evidence(
        num_seeds=_fewest([[r.seed for r in runs] for runs in by_variation.values()]),
        num_folds=_fewest([[r.fold for r in runs] for runs in by_variation.values()]),
        steps=(min(steps), max(steps)) if steps and len(steps) == len(done) else None,
    )


def smaller_is_better(runs: Sequence[RunFacts]) -> frozenset[str]:
    """Columns of the user's own metrics of which smaller is better, as scored with."""
    found: set[str] = set()
    for run in runs:
        path = None if run.folder is None else run.folder / VALIDATION / "summary.json"
        if path is None or not path.is_file():
            continue
        values: Any = json.loads(path.read_text(encoding="utf-8")).get("settings", {})
        try:
            settings = parse_settings(MetricSettings, values, source=str(path))
        except MedsegError:  # of another version
            continue
        found |= settings.smaller_is_better
    return frozenset(found)


def table_of_runs(
    runs: Sequence[RunFacts], out: Path, metrics: Sequence[str]
) -> list[dict[str, str]]:
    """A row for each run of a page, also for those that failed."""
    rows = []
    for run in runs:
        scores = run.scores(metrics)
        row = {
            "run": run.name,
            "link": run.link_from(out),
            "fold": _text(run.fold),
            "seed": _text(run.seed),
            "steps": "–" if run.steps is None else f"{run.steps:,}",
            "failure": run.failure,
        }
        rows.append(row | {m: _decimal(scores.get(m)) for m in metrics})
    return rows


def _fewest(values: Sequence[Sequence[int | None]]) -> int | None:
    """The smallest number of different values; None where one is not known."""
    if not values or any(value is None for part in values for value in part):
        return None
    return min(len(set(part)) for part in values)


def _steps(folder: Path | None) -> int | None:
    origin = _values(None if folder is None else folder / "model" / DESCRIPTION)
    provenance = origin.get("provenance")
    if not isinstance(provenance, dict):
        return None
    return _number(provenance.get("steps"))


def _values(path: Path | None) -> Mapping[str, Any]:
    if path is None or not path.is_file():
        return {}
    try:
        values = read_yaml(path)
    except (MedsegError, yaml.YAMLError, OSError):
        return {}
    return values if isinstance(values, dict) else {}


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _decimal(value: float | None) -> str:
    return "–" if value is None or value != value else f"{value:.4f}"


def _text(value: int | None) -> str:
    return "–" if value is None else str(value)
