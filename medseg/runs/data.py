"""From what a user names to a prepared store and its split."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from medseg.datasets import Dataset
from medseg.errors import MedsegError, SettingsError, StoreError
from medseg.files import hash_text
from medseg.folder_lock import one_at_a_time
from medseg.preparation.completion import fold_numbers
from medseg.preparation.inheritance import Inheritance
from medseg.progress import Progress
from medseg.runs.config import RunConfig
from medseg.runs.parent import open_parent
from medseg.runs.prepare import prepare_dataset
from medseg.store import Store
from medseg.store.store import PLAN


def open_data(
    config: RunConfig,
    out: Path,
    *,
    device: torch.device,
    progress: Progress,
    alike: Sequence[RunConfig] = (),
) -> Store:
    """The store the configuration names, or one prepared from the data set it names.

    A data set is prepared once into ``stores/`` beside the run's folder, so that all
    folds and variations of a study share it; those that begin at once wait for it. For
    a run that begins with a trained model it is prepared as that model needs it. What
    the data set cannot give is refused before any of its cases is read.

    Args:
        config: Of the run.
        out: Its folder.
        device: What it will be trained on.
        progress: Shows progress.
        alike: Other runs on the same data, to be checked as well.

    Raises:
        SettingsError: No data is named, or the data set has no such fold, structure or
            channel.
        MedsegError: The data cannot be used.
    """
    if config.data is None:
        raise SettingsError("no data: give --data DATASET, or `data:` in the config")
    if (config.data / "store.json").is_file():
        return Store.open(config.data)
    parent = open_parent(config.training.init, out)
    inherit = None if parent is None else parent.inheritance
    folder = out.parent / "stores" / _store_name(config, inherit)
    runs = (config, *alike)
    lock = folder.with_name(f".{folder.name}.lock")
    with (
        _gone_without(folder, lock),
        one_at_a_time(lock, doing="prepares the same data", progress=progress),
    ):
        return prepare_dataset(
            config.data,
            folder,
            root=config.root,
            spatial_dims=config.prepare.spatial_dims,
            device=str(device),
            instance_target=config.prepare.instance_target,
            target_spacing=config.prepare.target_spacing,
            inherit=inherit,
            num_folds=config.prepare.num_folds,
            seed=config.prepare.seed,
            skip_broken=config.prepare.skip_broken,
            require=lambda dataset: _require(dataset, folder, runs, inherit),
            progress=progress,
        )


def _require(
    dataset: Dataset,
    store: Path,
    runs: Sequence[RunConfig],
    inherit: Inheritance | None,
) -> None:
    """Refuses runs that a data set cannot give what they name.

    Where the store has a plan already, its names of structures count, which its user
    may have edited.

    Raises:
        SettingsError: There is such a run.
    """
    for run in runs:
        folds = fold_numbers(dataset, run.prepare.num_folds)
        if run.fold is not None and run.fold not in folds:
            raise SettingsError(
                f"{dataset.root}: no fold {run.fold}, only {list(folds)}; "
                "--fold none trains on all cases"
            )
        if inherit is None and not (store / PLAN).is_file():
            run.metrics.require_names(dataset.scheme)
    if inherit is not None:
        inherit.sources_of_channels(tuple(dataset.channels))


@contextmanager
def _gone_without(folder: Path, lock: Path) -> Iterator[None]:
    """Takes a lock and new folders away where data was refused, and no store is there.

    Who waits for the lock meets the same refusal.
    """
    new = [above for above in lock.parents if not above.exists()]
    try:
        yield
    except MedsegError:
        with suppress(OSError):
            if not folder.exists():
                lock.unlink()
                for above in new:  # innermost first; one that holds more stays
                    above.rmdir()
        raise


def split(store: Store, fold: int | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Training and held-out cases; without a fold, all are training cases.

    Raises:
        SettingsError: The store has no such fold.
    """
    if fold is None:
        return store.case_ids, ()
    try:
        return store.split(fold)
    except StoreError as error:
        raise SettingsError(f"fold {fold}: {error}") from error


def _store_name(config: RunConfig, inherit: Inheritance | None) -> str:
    """Readable, and different for other data or other ways to prepare it."""
    assert config.data is not None  # checked before
    data, root = config.data, config.root
    readable = re.sub(r"[^A-Za-z0-9_-]+", "_", data.resolve().name).strip("_") or "data"
    key = f"{data.resolve()}\n{config.prepare.model_dump_json()}"
    if root is not None:
        key += f"\n{root.resolve()}"
    if inherit is not None:
        key += f"\n{inherit.key}"
    return f"{readable}_{hash_text(key)[:8]}"
