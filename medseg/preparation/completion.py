"""The last step of preparing: folds, manifest, summary, and nothing left over."""

import json
import shutil
from pathlib import Path

from medseg.datasets import Dataset, Split, make_splits
from medseg.datasets.splits import splits_of_folds
from medseg.errors import DatasetError
from medseg.files import write_text
from medseg.progress import Progress
from medseg.store.store import CASES, MANIFEST, STORE_VERSION, SUMMARY
from medseg.tables import csv_text


def choose_splits(
    dataset: Dataset, *, num_folds: int, seed: int, progress: Progress
) -> tuple[Split, ...]:
    """The given splits; else folds, fewer with a warning where patients are too few.

    Raises:
        DatasetError: Names of folders make one patient of all cases, so that nothing
            could be held out.
    """
    if dataset.splits:
        return dataset.splits
    patients = len(dataset.patients)
    if patients < 2 < len(dataset.cases) and dataset.has_guessed_patients:
        raise DatasetError(
            f"{dataset.name}: {len(dataset.cases)} cases of one patient, "
            f"{dataset.patients[0]} ({dataset.patient_source}), so nothing can be held "
            "out; name the patients in a patients.csv beside the data, with the "
            "columns case_id, patient_id"
        )
    if patients < 2:
        progress.warn(f"{dataset.name}: one patient only, so nothing can be held out")
        return splits_of_folds({case.case_id: 0 for case in dataset.cases})
    if patients < num_folds:
        progress.warn(
            f"{dataset.name}: {patients} patients ({dataset.patient_source}), so "
            f"{patients} folds instead of {num_folds}"
        )
    return make_splits(dataset, num_folds=min(num_folds, patients), seed=seed)


def fold_numbers(dataset: Dataset, num_folds: int) -> tuple[int, ...]:
    """The folds that `choose_splits` gives where every case can be used."""
    if dataset.splits:
        return tuple(split.fold for split in dataset.splits)
    return tuple(range(max(1, min(num_folds, len(dataset.patients)))))


def complete(
    dataset: Dataset,
    folder: Path,
    *,
    keys: dict[str, str],
    hashes: dict[str, str],
    images: dict[str, tuple[str, ...]],
    splits: tuple[Split, ...],
) -> None:
    """Removes what belongs to no case, writes the manifest, and the summary last.

    Args:
        dataset: What was prepared.
        folder: The store.
        keys: What each case was prepared from, files and settings.
        hashes: Hash of each case's files.
        images: Hashes of each case's images alone.
        splits: Cases to train on and to validate on, by fold.

    Raises:
        OutputError: The folder cannot be written.
    """
    for stale in (folder / CASES).iterdir():
        if stale.name not in keys:
            shutil.rmtree(stale)
    cases = {
        case.case_id: {
            "patient": case.patient_id,
            "key": keys[case.case_id],
            "images": [str(path.resolve()) for path in case.images],
            "label": str(case.label.resolve()) if case.label else None,
            "image_hashes": list(images[case.case_id]),
        }
        for case in dataset.cases
    }
    summary = {
        "version": STORE_VERSION,
        "dataset": dataset.name,
        "manifest_hash": dataset.manifest_hash,
        "licence": dataset.licence,
        "splits": [
            {"fold": split.fold, "train": split.train, "val": split.val}
            for split in splits
        ],
        "cases": cases,
    }
    _write_if_new(folder / MANIFEST, _manifest(dataset, hashes, splits))
    _write_if_new(folder / SUMMARY, json.dumps(summary, indent=1))


def _manifest(
    dataset: Dataset, hashes: dict[str, str], splits: tuple[Split, ...]
) -> str:
    """The cases as a table, paths relative to the data set's root.

    Column ``fold`` holds the folds in which a case validates, usually one.
    """
    columns = ["case_id", "patient_id", "images", "label", "fold", "sha256"]
    validated = {split.fold: set(split.val) for split in splits}
    rows = []
    for case in dataset.cases:
        images = ";".join(_relative(path, dataset.root) for path in case.images)
        label = _relative(case.label, dataset.root) if case.label else ""
        name = case.case_id
        folds = ";".join(str(fold) for fold, val in validated.items() if name in val)
        rows.append([name, case.patient_id, images, label, folds, hashes[name]])
    return csv_text(columns, rows)


def _relative(path: Path, root: Path) -> str:
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()


def _write_if_new(path: Path, text: str) -> None:
    """Leaves a file alone that says the same already."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)
