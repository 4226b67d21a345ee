"""Before the first run of a study: its data, and that every run fits them."""

from collections.abc import Sequence
from pathlib import Path

from medseg.device import pick_device
from medseg.errors import SettingsError
from medseg.progress import Progress
from medseg.runs.config import RunConfig
from medseg.runs.data import open_data, split
from medseg.runs.resolve import change_plan, settle_training
from medseg.runs.tracked_run import require_tracking
from medseg.store import Store
from medseg.studies.study import StudyRun


def prepare_study(
    runs: Sequence[StudyRun], out: Path, *, device: str, progress: Progress
) -> None:
    """Prepares the data of all runs, and refuses runs that would fail later.

    Args:
        runs: Of the study; the same data is prepared once.
        out: The study's folder.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:n``.
        progress: Shows progress.

    Raises:
        SettingsError: A run has no such fold, names a structure that there is not, or
            changes the plan in a way that does not fit.
        MedsegError: The data cannot be used.
    """
    where = pick_device(device)
    alike: dict[str, list[RunConfig]] = {}
    for run in runs:
        require_tracking(run.config, out)
        alike.setdefault(_data_of(run.config), []).append(run.config)
    stores: dict[str, Store] = {}
    for run in runs:
        key = _data_of(run.config)
        if key not in stores:
            stores[key] = open_data(
                run.config,
                out / "runs" / run.name,
                device=where,
                progress=progress,
                alike=alike[key],
            )
        try:
            _require_fit(run, stores[key])
        except SettingsError as error:
            raise SettingsError(f"{run.name}: {error}") from error


def _data_of(config: RunConfig) -> str:
    """Equal for configurations of which the same data is prepared in the same way."""
    return f"{config.data}\n{config.root}\n{config.prepare.model_dump_json()}"


def _require_fit(run: StudyRun, store: Store) -> None:
    split(store, run.config.fold)
    run.config.metrics.require_names(store.plan.labels)
    plan = change_plan(store.plan, run.config, fingerprint=store.fingerprint)
    settle_training(run.config.training, plan)
