"""A data set becomes a store: fingerprint, plan, and one prepared folder per case."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from medseg.datasets import Case, Dataset
from medseg.datasets.folds import check_splits
from medseg.errors import GeometryError, StoreError
from medseg.files import hash_text
from medseg.fingerprint import (
    CaseFacts,
    Fingerprint,
    read_fingerprint,
    write_fingerprint,
)
from medseg.grid_limits import require_grid_size
from medseg.instances.targets import Target
from medseg.placement import Placement
from medseg.plan import Plan, read_plan
from medseg.preparation.case_facts import read_case
from medseg.preparation.completion import choose_splits, complete
from medseg.preparation.decision import decide
from medseg.preparation.inheritance import Inheritance
from medseg.preparation.inputs import FileHashes
from medseg.preparation.measuring import (
    Attempt,
    make_fingerprint,
    report_broken,
    require_cases,
    try_cases,
    warn_of_oddities,
)
from medseg.preparation.planning import Compute
from medseg.preparation.preprocessing import (
    axes_with_last,
    preprocess,
    preprocess_label,
    preprocess_objects,
)
from medseg.progress import Progress, Silent
from medseg.reading import REMEMBERED
from medseg.store.arrays import MAPPED, Compression
from medseg.store.store import CASES, FINGERPRINT, STORE_VERSION, SUMMARY, Store
from medseg.store.stored_case import StoredCase, write_case
from medseg.store.voxel_index import build_index
from medseg.types import LabelArray, Spacing
from medseg.volume import LabelMap

IMAGE_HASH = 16
"""Digits kept of an image's hash: enough to know it again, too few to waste space."""

CHANNEL_KEYS = {"name", "normalization", "nonzero_only", "clip", "mean", "std"}
"""What of a channel is in the hash of every prepared case; other keys join it where
they are set, so that stores made before there were any stay valid."""


def prepare(
    dataset: Dataset,
    folder: Path,
    *,
    plan: Path | None = None,
    spatial_dims: Literal[2, 3] | None = None,
    compute: Compute = "cpu",
    memory_bytes: int | None = None,
    instance_target: Target | Literal["none"] | None = None,
    target_spacing: Spacing | None = None,
    inherit: Inheritance | None = None,
    num_folds: int = 5,
    seed: int = 0,
    compression: Compression = "none",
    skip_broken: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Store:
    """Prepares a data set into a folder, or completes what an earlier call began.

    Cases whose files and settings are unchanged are left as they are, so a second
    call does nothing and a killed one continues.

    Args:
        dataset: Its labelled cases are prepared.
        folder: The store.
        plan: A plan to use; by default the one in the folder if a user edited it,
            else a new one.
        spatial_dims: For a new plan; see `make_plan`.
        compute: For a new plan.
        memory_bytes: For a new plan.
        instance_target: For a new plan.
        target_spacing: For a new plan.
        inherit: A trained model's plan that a new plan takes over.
        num_folds: Folds, unless the data set came with them.
        seed: Another seed gives other folds.
        compression: How voxels are kept on disk.
        skip_broken: Go on without cases that cannot be used, with a warning each.
        workers: Processes; None chooses.
        progress: Follows the cases.

    Raises:
        DatasetError: Cases cannot be used; all of them are named. Or no such folds can
            be made.
        MissingFileError: The given plan is not there.
        SettingsError: The plan is wrong.
        OutputError: The folder cannot be written.
    """
    folder, shown = Path(folder), progress or Silent()
    way = _Preparer(folder, skip_broken, workers, shown)
    require_cases(dataset)
    check_splits(dataset)
    choose_splits(dataset, num_folds=num_folds, seed=seed, progress=Silent())
    if plan is not None:
        read_plan(plan)
    hashes = way.hash_files(dataset)
    dataset = dataset.only(hashes)
    fingerprint = way.measure(dataset, hashes)
    dataset = dataset.only({case.case_id for case in fingerprint.cases})
    decided = decide(
        folder,
        fingerprint,
        dataset.scheme,
        given=plan,
        spatial_dims=spatial_dims,
        compute=compute,
        memory_bytes=memory_bytes,
        instance_target=instance_target,
        target_spacing=target_spacing,
        inherit=inherit,
        progress=shown,
    )
    warn_of_oddities(fingerprint, decided, shown)
    dataset = dataset.only(way.fitting_cases(dataset, fingerprint, decided))
    splits = choose_splits(dataset, num_folds=num_folds, seed=seed, progress=shown)
    keys = {
        case.case_id: _key(hashes[case.case_id], decided, compression, case)
        for case in dataset.cases
    }
    way.prepare_cases(dataset, decided, keys, compression)
    complete(
        dataset,
        folder,
        keys=keys,
        hashes=hashes,
        images=way.image_hashes(dataset),
        splits=splits,
    )
    return Store.open(folder)


def prepare_case(
    case: Case,
    *,
    folder: Path,
    plan: Plan,
    keys: dict[str, str],
    compression: Compression,
) -> str:
    """Prepares one case into its own folder and returns its name.

    Raises:
        InputError: A file of the case cannot be used.
        OutputError: The folder cannot be written.
    """
    volume, label_map = read_case(case, plan.labels)
    prepared = preprocess(volume, plan, name=case.case_id)
    name = f"{case.case_id}: {case.label}"
    label, painted = _targets(label_map, prepared.placement, plan, name)
    rng = np.random.default_rng(int(hash_text(case.case_id)[:8], 16))
    write_case(
        folder / case.case_id,
        key=keys[case.case_id],
        image=prepared.image,
        label=label,
        painted=painted,
        index=build_index(label, plan.targets.num_classes, rng),
        placement=prepared.placement,
        compression=compression,
        unannotated=[
            plan.labels.structures.index(name) + 1 for name in case.unannotated
        ],
    )
    return case.case_id


def _targets(
    label_map: LabelMap, placement: Placement, plan: Plan, name: str
) -> tuple[LabelArray, LabelArray | None]:
    """Label indices, and single objects painted where the plan has them."""
    if plan.instance_target == "none":
        return preprocess_label(label_map, placement, plan, name=name), None
    return preprocess_objects(label_map, placement, plan, name=name)


@dataclass(frozen=True)
class _Preparer:
    """The three passes over the cases, and how they are made."""

    folder: Path
    skip_broken: bool
    workers: int | None
    progress: Progress

    def hash_files(self, dataset: Dataset) -> dict[str, str]:
        """Content hash of each case that has all its files."""
        hashes = FileHashes(self.folder / "inputs.json")
        attempts: list[Attempt[str]] = try_cases(
            hashes.of_case, dataset.cases, workers=1, progress=None, label="hashing"
        )
        self._report(dataset, attempts)
        hashes.save()
        pairs = zip(dataset.cases, attempts, strict=True)
        return {case.case_id: a.result for case, a in pairs if a.result is not None}

    def image_hashes(self, dataset: Dataset) -> dict[str, tuple[str, ...]]:
        """Hashes of the images of each case, without the label map, shortened."""
        hashes = FileHashes(self.folder / "inputs.json")
        return {
            case.case_id: tuple(hashes.of(path)[:IMAGE_HASH] for path in case.images)
            for case in dataset.cases
        }

    def measure(self, dataset: Dataset, hashes: dict[str, str]) -> Fingerprint:
        """The fingerprint in the folder if it is of the same files, else a new one."""
        path = self.folder / FINGERPRINT
        files = [f"{name} {digest}" for name, digest in hashes.items()]
        scheme = dataset.scheme.model_dump_json()
        key = hash_text("\n".join([scheme, *dataset.channels, *files]))
        try:
            known = read_fingerprint(path)
        except StoreError:
            known = None
        if known is not None and known.key == key:
            return known
        with REMEMBERED.kept_in(self.folder):
            measured = make_fingerprint(
                dataset,
                workers=self.workers,
                progress=self.progress,
                skip_broken=self.skip_broken,
                key=key,
            )
        write_fingerprint(path, measured)
        return measured

    def fitting_cases(
        self, dataset: Dataset, fingerprint: Fingerprint, plan: Plan
    ) -> set[str]:
        """The cases whose resampled grids are not senselessly large."""
        facts = {case.case_id: case for case in fingerprint.cases}
        attempts = [_fitting(facts[case.case_id], plan) for case in dataset.cases]
        self._report(dataset, attempts)
        return {a.result for a in attempts if a.result is not None}

    def prepare_cases(
        self,
        dataset: Dataset,
        plan: Plan,
        keys: dict[str, str],
        compression: Compression,
    ) -> None:
        """Prepares the cases that are not yet there."""
        cases = self.folder / CASES
        todo = [
            case
            for case in dataset.cases
            if not _is_done(cases / case.case_id, keys[case.case_id])
        ]
        if not todo:
            return
        (self.folder / SUMMARY).unlink(missing_ok=True)
        for case in todo:
            MAPPED.forget(cases / case.case_id)
        work = partial(
            prepare_case, folder=cases, plan=plan, keys=keys, compression=compression
        )
        with REMEMBERED.kept_in(self.folder):
            attempts = try_cases(
                work,
                todo,
                workers=self.workers,
                progress=self.progress,
                label="preparing",
            )
        report_broken(dataset, attempts, skip=False, progress=self.progress)

    def _report(self, dataset: Dataset, attempts: list[Attempt[str]]) -> None:
        report_broken(dataset, attempts, skip=self.skip_broken, progress=self.progress)


def _key(inputs: str, plan: Plan, compression: Compression, case: Case) -> str:
    """Hash of everything that decides what a prepared case looks like."""
    keys: dict[str, Any] = dict.fromkeys(
        ("reorient", "target_spacing", "crop_nonzero", "labels"), True
    )
    keys["channels"] = {"__all__": CHANNEL_KEYS}
    if plan.slice_axis != "k":
        keys["slice_axis"] = True
    if plan.instance_target != "none":
        keys |= {"instance_target": True, "spatial_dims": True}
    settings = plan.model_dump_json(include=keys)
    parts = [str(STORE_VERSION), inputs, settings, compression]
    if case.unannotated:
        parts.append(f"unannotated {sorted(case.unannotated)}")
    floors = [(c.least_range, c.least_range_light) for c in plan.channels]
    if any(any(pair) for pair in floors):
        parts.append(f"ranges {floors}")
    return hash_text(
        "\n".join(parts + ["painted 2"] * (plan.instance_target != "none"))
    )


def _fitting(facts: CaseFacts, plan: Plan) -> Attempt[str]:
    """The case's name, or why its resampled grid is not made."""
    order = axes_with_last("ijk".index(plan.slice_axis))
    spacing = [facts.spacing[axis] for axis in order]
    shape = [facts.cropped_shape[axis] for axis in order]
    counts = [
        round(number * own / wanted) if wanted > 0 else number
        for number, own, wanted in zip(shape, spacing, plan.target_spacing, strict=True)
    ]
    what = f"{facts.case_id}: voxels resampled to {plan.target_spacing} mm"
    try:
        require_grid_size(
            counts, measured=shape, what=what, num_channels=len(plan.channels)
        )
    except GeometryError as error:
        return Attempt(None, str(error))
    return Attempt(facts.case_id)


def _is_done(folder: Path, key: str) -> bool:
    try:
        return StoredCase(folder).key == key
    except StoreError:
        return False
