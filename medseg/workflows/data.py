"""From what a user names to a prepared store and its split."""

import re
from pathlib import Path

import torch

from medseg.datasets import load_dataset
from medseg.errors import SettingsError, StoreError
from medseg.files import hash_text
from medseg.preparation import Store, prepare
from medseg.progress import Progress
from medseg.workflows.run_config import RunConfig


def open_data(
    config: RunConfig, out: Path, *, device: torch.device, progress: Progress
) -> Store:
    """The store the configuration names, or one prepared from the data set it names.

    A data set is prepared once into ``stores/`` beside the run's folder, so that all
    folds and variations of a study share it.

    Raises:
        SettingsError: No data is named.
        MedsegError: The data cannot be used.
    """
    if config.data is None:
        raise SettingsError("no data: give --data DATASET, or `data:` in the config")
    if (config.data / "store.json").is_file():
        return Store.open(config.data)
    dataset = load_dataset(config.data)
    progress.say(dataset.describe())
    folder = out.parent / "stores" / _store_name(dataset.name, config)
    return prepare(
        dataset,
        folder,
        spatial_dims=config.prepare.spatial_dims,
        compute="gpu" if device.type == "cuda" else "cpu",
        memory_bytes=_memory_bytes(device),
        num_folds=config.prepare.num_folds,
        seed=config.prepare.seed,
        skip_broken=config.prepare.skip_broken,
        progress=progress,
    )


def split(store: Store, fold: int | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Cases to train on and cases held out; all and none without a fold.

    Raises:
        SettingsError: The store has no such fold.
    """
    if fold is None:
        return store.case_ids, ()
    try:
        return store.split(fold)
    except StoreError as error:
        raise SettingsError(f"fold {fold}: {error}") from error


def _store_name(name: str, config: RunConfig) -> str:
    """Readable, and different for other data or other ways to prepare it."""
    assert config.data is not None  # checked by the caller
    readable = re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_").lower() or "data"
    key = f"{config.data.resolve()}\n{config.prepare.model_dump_json()}"
    return f"{readable}_{hash_text(key)[:8]}"


def _memory_bytes(device: torch.device) -> int:
    """Memory that training may plan with: what is free now, with a margin."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free * 0.9)
    import psutil

    return int(psutil.virtual_memory().available * 0.5)
