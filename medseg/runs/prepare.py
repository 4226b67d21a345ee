"""`medseg prepare`: measure a data set, decide, and write the prepared store."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from medseg.datasets import Dataset, load_dataset
from medseg.device import pick_device
from medseg.files import require_writable
from medseg.instances.targets import Target
from medseg.labels import LabelScheme
from medseg.preparation import prepare
from medseg.preparation.inheritance import Inheritance
from medseg.progress import Progress, Silent
from medseg.reading import REMEMBERED, start_early
from medseg.store import Store
from medseg.store.store import SUMMARY
from medseg.types import Spacing

GPU_SHARE = 0.9
"""Share of a GPU's free memory that a plan may use."""


def prepare_dataset(
    dataset: Path,
    output: Path,
    *,
    root: Path | None = None,
    plan: Path | None = None,
    scheme: LabelScheme | None = None,
    spatial_dims: Literal[2, 3] | None = None,
    device: str = "auto",
    instance_target: Target | Literal["none"] | None = None,
    target_spacing: Spacing | None = None,
    inherit: Inheritance | None = None,
    num_folds: int = 5,
    seed: int = 0,
    compression: Literal["none", "lz4"] = "none",
    skip_broken: bool = False,
    workers: int | None = None,
    require: Callable[[Dataset], None] | None = None,
    progress: Progress | None = None,
) -> Store:
    """Prepares the data set at a path, or completes what was begun.

    Args:
        dataset: Folder of any understood layout, or a manifest.
        output: Folder of the store.
        root: Folder that a manifest's paths start from; its own by default.
        plan: Edited plan to use; by default one is made, or the store's own is used
            if it was edited.
        scheme: Structures, where the data set does not say.
        spatial_dims: 2 or 3; by default 2 for scans of one slice.
        device: What training will run on: ``auto``, ``cpu`` or ``cuda[:n]``.
        instance_target: What is learned of single objects, where labels number them;
            None chooses.
        target_spacing: Voxel size in mm to resample to; None chooses.
        inherit: A trained model's plan that a new plan takes over.
        num_folds: Folds, unless the data set came with them.
        seed: Another seed gives other folds.
        compression: How voxels are kept on disk.
        skip_broken: Go on without cases that cannot be used.
        workers: Processes; None chooses.
        require: Refuses the data set before any of its cases is read.
        progress: Shows what happens.

    Raises:
        MedsegError: The data set cannot be used or the store cannot be written.
    """
    shown = progress or Silent()
    pick_device(device)
    require_writable(output / SUMMARY)
    start_early()
    with REMEMBERED.kept_in(output):
        loaded = load_dataset(dataset, scheme=scheme, root=root, progress=shown)
    shown.say(loaded.describe())
    if require is not None:
        require(loaded)
    compute, memory_bytes = find_compute(device)
    store = prepare(
        loaded,
        output,
        plan=plan,
        spatial_dims=spatial_dims,
        compute=compute,
        memory_bytes=memory_bytes,
        instance_target=instance_target,
        target_spacing=target_spacing,
        inherit=inherit,
        num_folds=num_folds,
        seed=seed,
        compression=compression,
        skip_broken=skip_broken,
        workers=workers,
        progress=progress,
    )
    for line in describe_store(store):
        shown.say(line)
    return store


def find_compute(device: str) -> tuple[Literal["cpu", "gpu"], int]:
    """What training will run on, and the bytes of memory it may use."""
    if device != "cpu":
        import torch

        if torch.cuda.is_available():
            number = torch.device("cuda" if device == "auto" else device).index
            free, _ = torch.cuda.mem_get_info(number or 0)
            return "gpu", int(free * GPU_SHARE)
    import psutil

    return "cpu", int(psutil.virtual_memory().available // 2)


def describe_store(store: Store) -> list[str]:
    """What was measured and decided, in a few lines."""
    plan, fingerprint = store.plan, store.fingerprint
    sizes = [len(split.val) for split in store.splits]
    classes = ", ".join(
        f"{c.name} in {c.num_cases} cases, {c.fraction:.3%} of voxels, "
        f"{c.num_components} components"
        for c in fingerprint.classes
    )
    return [
        f"structures: {classes}",
        f"plan: {plan.spatial_dims}D, spacing {_times(plan.target_spacing)} mm, patch "
        f"{_times(plan.patch_size)}, batch {plan.batch_size}, network "
        f"{plan.network.name}; reasons in {store.folder / 'plan.yaml'}",
        f"folds: {len(sizes)} of {min(sizes)} to {max(sizes)} cases",
        f"store: {store.folder}, {len(store.case_ids)} cases",
    ]


def _times(numbers: tuple[float, ...]) -> str:
    return " x ".join(f"{number:g}" for number in numbers)
