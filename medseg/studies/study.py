"""A study: variations of one configuration, each on the same folds and seeds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from medseg.errors import SettingsError
from medseg.evaluation.metrics import column_of
from medseg.plugins import anchored
from medseg.runs.config import RunConfig
from medseg.settings import Settings, parse_settings, read_yaml
from medseg.shipped_configs import find_config
from medseg.training.settings import Duration


class StudySettings(Settings):
    """What is compared, and on what."""

    name: str
    """Names the study in MLflow."""
    base: Path | None = None
    """Configuration that all variations share: a file, relative to the study's, or
    the name of one that comes with medseg."""
    data: Path | None = None
    """Data set or prepared store; ``--data`` goes before it."""
    root: Path | None = None
    """Folder that a manifest's paths start from; ``--root`` goes before it."""
    folds: tuple[int, ...] = (0,)
    """Folds, each held out in turn."""
    seeds: tuple[int, ...] = (0,)
    """Seeds, each for every fold."""
    budget: Duration | None = None
    """Time for each run; None takes the base configuration's length."""
    shared: dict[str, Any] = {}
    """Changes to the base that all variations have."""
    variations: dict[str, dict[str, Any]] = Field(min_length=2)
    """Each variation's changes to the base, such as
    ``focal: {training: {loss: {name: focal}}}``."""
    metrics: tuple[str, ...] = ("dice",)
    """Columns of the per-case tables that are compared; the user's own metrics
    (`metrics.extra` of the base) by their columns."""

    @field_validator("variations")
    @classmethod
    def _file_names(cls, value: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name in value:
            if not name.replace("_", "").replace("-", "").isalnum():
                raise ValueError(f"variation {name!r}: letters, digits, '-', '_' only")
        return value


@dataclass(frozen=True)
class StudyRun:
    """One run of a study."""

    variation: str
    fold: int
    seed: int
    config: RunConfig

    @property
    def name(self) -> str:
        """Name of the run and of its folder."""
        return f"{self.variation}_fold{self.fold}_seed{self.seed}"

    def with_data(self, data: Path | None, root: Path | None, *, name: str) -> StudyRun:
        """The same run on data of the study, in the study's experiment."""
        tracking = self.config.tracking
        changes = {
            "data": data or self.config.data,
            "root": root or self.config.root,
            "tracking": tracking.replaced(experiment=tracking.experiment or name),
        }
        return replace(self, config=self.config.replaced(**changes))


@dataclass(frozen=True)
class StudyChanges:
    """What a call asks for in place of what the study's file says."""

    budget: str | None = None
    """Time for each run, such as ``15m``."""
    folds: tuple[int, ...] = ()
    seeds: tuple[int, ...] = ()

    @property
    def values(self) -> dict[str, Any]:
        """As keys of the file."""
        given = {"budget": self.budget, "folds": self.folds, "seeds": self.seeds}
        return {name: value for name, value in given.items() if value}

    @property
    def options(self) -> list[str]:
        """As options of the command line."""
        lists = {"--folds": self.folds, "--seeds": self.seeds}
        found = [] if self.budget is None else ["--budget", self.budget]
        for name, numbers in lists.items():
            found += [name, ",".join(map(str, numbers))] if numbers else []
        return found


def read_study(
    path: Path, changes: StudyChanges | None = None
) -> tuple[StudySettings, list[StudyRun]]:
    """The study in a YAML file and its runs, fold by fold so that pairs come early.

    Args:
        path: The file, or the name of one that comes with medseg.
        changes: What goes before it.

    Raises:
        MissingFileError: A file is not there, and none that comes with medseg has
            its name.
        SettingsError: A key is unknown or a value is wrong, also in a variation.
    """
    path = find_config(path)
    values = anchored(read_yaml(path) or {}, path.parent)
    if changes is not None:
        values = {**values, **changes.values}
    study = parse_settings(StudySettings, values, source=str(path))
    base: dict[str, Any] = {}
    if study.base is not None:
        beside = path.parent / study.base
        file = beside if beside.exists() else find_config(study.base)
        base = anchored(read_yaml(file) or {}, file.parent)
    runs = list(_runs(study, base, path))
    return _with_columns(study, runs, path), runs


def _with_columns(
    study: StudySettings, runs: list[StudyRun], path: Path
) -> StudySettings:
    """The study with its metrics named as the columns that every run measures.

    Raises:
        SettingsError: A run does not measure one.
    """
    columns = runs[0].config.metrics.columns
    shared = [c for c in columns if all(c in r.config.metrics.columns for r in runs)]
    try:
        metrics = tuple(column_of(name, shared) for name in study.metrics)
    except SettingsError as error:
        raise SettingsError(f"{path}: metrics: {error}") from error
    for run in runs:
        for metric in metrics:
            run.config.metrics.require_measured(metric)
    return study.replaced(metrics=metrics)


def _runs(study: StudySettings, base: dict[str, Any], path: Path) -> Iterator[StudyRun]:
    for fold in study.folds:
        for seed in study.seeds:
            for name, changes in study.variations.items():
                values = merge(merge(base, study.shared), _length(study))
                values = merge(values, changes)
                values = merge(values, {"fold": fold, "training": {"seed": seed}})
                source = f"{path}: variation {name}"
                config = parse_settings(RunConfig, values, source=source)
                yield StudyRun(name, fold, seed, config)


def _length(study: StudySettings) -> dict[str, Any]:
    if study.budget is None:
        return {}
    return {"training": {"budget": study.budget, "epochs": None, "steps": None}}


def merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Nested values with changes laid over them; what names its kind is replaced.

    A mapping with another ``name`` is another kind of thing (another loss, another
    network), so nothing of the old one is kept.
    """
    result = dict(base)
    for key, value in changes.items():
        old = result.get(key)
        same_kind = (
            isinstance(old, dict)
            and isinstance(value, dict)
            and value.get("name", old.get("name")) == old.get("name")
        )
        result[key] = merge(old, value) if same_kind else value  # type: ignore[arg-type]
    return result
