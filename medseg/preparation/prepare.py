"""A data set becomes a store: fingerprint, plan, and one prepared folder per case."""

import csv
import io
import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from medseg.datasets import Case, Dataset, make_folds
from medseg.errors import StoreError
from medseg.files import hash_text, write_text
from medseg.plan import Plan, read_plan, write_plan
from medseg.preparation.arrays import Compression
from medseg.preparation.case_facts import read_case
from medseg.preparation.fingerprint import (
    Fingerprint,
    read_fingerprint,
    write_fingerprint,
)
from medseg.preparation.inputs import FileHashes
from medseg.preparation.measuring import (
    Attempt,
    make_fingerprint,
    report_broken,
    try_cases,
)
from medseg.preparation.planning import Compute, make_plan
from medseg.preparation.preprocessing import preprocess, preprocess_label
from medseg.preparation.store import (
    CASES,
    FINGERPRINT,
    MANIFEST,
    PLAN,
    STORE_VERSION,
    SUMMARY,
    Store,
)
from medseg.preparation.stored_case import StoredCase, write_case
from medseg.preparation.voxel_index import build_index
from medseg.progress import Progress, Silent


def prepare(
    dataset: Dataset,
    folder: Path,
    *,
    plan: Path | None = None,
    spatial_dims: Literal[2, 3] | None = None,
    compute: Compute = "cpu",
    memory_bytes: int | None = None,
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
        num_folds: Folds, unless the data set came with them.
        seed: Another seed gives other folds.
        compression: How voxels are kept on disk.
        skip_broken: Go on without cases that cannot be read, with a warning each.
        workers: Processes; None chooses.
        progress: Follows the cases.

    Raises:
        DatasetError: Cases cannot be used; all of them are named.
        SettingsError: The plan is wrong.
        OutputError: The folder cannot be written.
    """
    folder = Path(folder)
    hashes = _hash_files(dataset, folder, skip=skip_broken, progress=progress)
    dataset = _only(dataset, hashes)
    fingerprint = _fingerprint(
        dataset, folder, hashes, skip=skip_broken, workers=workers, progress=progress
    )
    dataset = _only(dataset, {case.case_id for case in fingerprint.cases})
    decided = _decide(
        folder,
        plan,
        make_plan(
            fingerprint,
            dataset.scheme,
            spatial_dims=spatial_dims,
            compute=compute,
            memory_bytes=memory_bytes,
        ),
        progress or Silent(),
    )
    keys = {
        case.case_id: _key(hashes[case.case_id], decided, compression)
        for case in dataset.cases
    }
    _prepare_cases(
        dataset, folder, decided, keys, compression, workers=workers, progress=progress
    )
    folds = make_folds(dataset, num_folds=num_folds, seed=seed)
    _complete(dataset, folder, keys, hashes, folds, seed)
    return Store.open(folder)


def _hash_files(
    dataset: Dataset, folder: Path, *, skip: bool, progress: Progress | None
) -> dict[str, str]:
    """Content hash of each case that has all its files."""
    hashes = FileHashes(folder / "inputs.json")
    attempts: list[Attempt[str]] = try_cases(
        hashes.of_case, dataset.cases, workers=1, progress=None, label="hashing"
    )
    report_broken(dataset, attempts, skip=skip, progress=progress)
    hashes.save()
    pairs = zip(dataset.cases, attempts, strict=True)
    return {case.case_id: a.result for case, a in pairs if a.result is not None}


def _only(dataset: Dataset, case_ids: Mapping[str, str] | set[str]) -> Dataset:
    kept = tuple(case for case in dataset.cases if case.case_id in case_ids)
    return dataset if len(kept) == len(dataset.cases) else replace(dataset, cases=kept)


def _fingerprint(
    dataset: Dataset,
    folder: Path,
    hashes: dict[str, str],
    *,
    skip: bool,
    workers: int | None,
    progress: Progress | None,
) -> Fingerprint:
    """The fingerprint in the folder if it is of the same files, else a new one."""
    path = folder / FINGERPRINT
    scheme = dataset.scheme.model_dump_json()
    parts = [scheme, *dataset.channels, *(f"{k} {v}" for k, v in hashes.items())]
    key = hash_text("\n".join(parts))
    try:
        known = read_fingerprint(path)
    except StoreError:
        known = None
    if known is not None and known.key == key:
        return known
    measured = make_fingerprint(
        dataset, workers=workers, progress=progress, skip_broken=skip, key=key
    )
    write_fingerprint(path, measured)
    return measured


def _decide(
    folder: Path, given: Path | None, planned: Plan, progress: Progress
) -> Plan:
    """The given plan, or the folder's if a user edited it, or the new one."""
    path, note = folder / PLAN, folder / "planned.sha256"
    if given is not None:
        plan = read_plan(given)
        if path.resolve() != given.resolve():
            write_plan(path, plan)
        return plan
    if path.exists():
        as_written = note.read_text(encoding="utf-8") if note.exists() else ""
        if hash_text(path.read_text(encoding="utf-8")) != as_written:
            progress.say(f"{path}: edited, and so used as it is")
            return read_plan(path)
    write_plan(path, planned)
    write_text(note, hash_text(path.read_text(encoding="utf-8")))
    return planned


def _key(inputs: str, plan: Plan, compression: Compression) -> str:
    """Hash of everything that decides what a prepared case looks like."""
    keys = {"reorient", "target_spacing", "crop_nonzero", "channels", "labels"}
    settings = plan.model_dump_json(include=keys)
    return hash_text("\n".join([str(STORE_VERSION), inputs, settings, compression]))


def _prepare_cases(
    dataset: Dataset,
    folder: Path,
    plan: Plan,
    keys: dict[str, str],
    compression: Compression,
    *,
    workers: int | None,
    progress: Progress | None,
) -> None:
    cases = folder / CASES
    todo = [
        c for c in dataset.cases if not _is_done(cases / c.case_id, keys[c.case_id])
    ]
    if not todo:
        return
    (folder / SUMMARY).unlink(missing_ok=True)
    work = partial(
        prepare_case, folder=cases, plan=plan, keys=keys, compression=compression
    )
    attempts = try_cases(
        work, todo, workers=workers, progress=progress, label="preparing"
    )
    report_broken(dataset, attempts, skip=False, progress=progress)


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
    volume, label_map = read_case(case)
    prepared = preprocess(volume, plan, name=case.case_id)
    name = f"{case.case_id}: {case.label}"
    label = preprocess_label(label_map, prepared.placement, plan, name=name)
    rng = np.random.default_rng(int(hash_text(case.case_id)[:8], 16))
    write_case(
        folder / case.case_id,
        key=keys[case.case_id],
        image=prepared.image,
        label=label,
        index=build_index(label, plan.labels.num_classes, rng),
        placement=prepared.placement,
        compression=compression,
    )
    return case.case_id


def _is_done(folder: Path, key: str) -> bool:
    try:
        return StoredCase(folder).key == key
    except StoreError:
        return False


def _complete(
    dataset: Dataset,
    folder: Path,
    keys: dict[str, str],
    hashes: dict[str, str],
    folds: dict[str, int],
    seed: int,
) -> None:
    """Removes what belongs to no case, and writes manifest and summary last."""
    for stale in (folder / CASES).iterdir():
        if stale.name not in keys:
            shutil.rmtree(stale)
    cases = {
        case.case_id: {
            "patient": case.patient_id,
            "fold": folds[case.case_id],
            "key": keys[case.case_id],
            "images": [str(path.resolve()) for path in case.images],
            "label": str(case.label.resolve()) if case.label else None,
        }
        for case in dataset.cases
    }
    summary = {
        "version": STORE_VERSION,
        "dataset": dataset.name,
        "root": str(dataset.root.resolve()),
        "manifest_hash": dataset.manifest_hash,
        "fold_seed": seed,
        "cases": cases,
    }
    write_text(folder / MANIFEST, _manifest(dataset, hashes, folds))
    write_text(folder / SUMMARY, json.dumps(summary, indent=1))


def _manifest(dataset: Dataset, hashes: dict[str, str], folds: dict[str, int]) -> str:
    """The cases as a table, paths relative to the data set's root."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["case_id", "patient_id", "images", "label", "fold", "sha256"])
    for case in dataset.cases:
        files = [*case.images, *([case.label] if case.label else [])]
        names = [
            (p.relative_to(dataset.root) if p.is_relative_to(dataset.root) else p)
            for p in files
        ]
        *images, label = (name.as_posix() for name in names)
        table.writerow(
            [
                case.case_id,
                case.patient_id,
                ";".join(images),
                label,
                folds[case.case_id],
                hashes[case.case_id],
            ]
        )
    return text.getvalue()
