"""A prepared data set on disk: plan, fingerprint, folds, and one folder per case."""

import json
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

from medseg.datasets.splits import Split, splits_of_folds
from medseg.errors import StoreError
from medseg.fingerprint import Fingerprint, read_fingerprint
from medseg.plan import Plan, read_plan
from medseg.store.stored_case import StoredCase

STORE_VERSION = 2
"""Layout of the folder; another version is prepared anew."""

PLAN = "plan.yaml"
FINGERPRINT = "fingerprint.json"
SUMMARY = "store.json"
MANIFEST = "manifest.csv"
CASES = "cases"


class Store:
    """A folder that `prepare` has completed.

    Examples:
        >>> import medseg
        >>> store = medseg.prepare("tiny", "stores/tiny", progress=False)
        >>> store.case(store.case_ids[0]).read_image().ndim
        4
    """

    def __init__(self, folder: Path, summary: dict[str, Any]) -> None:
        self.folder = folder
        self._summary = summary

    @classmethod
    def open(cls, folder: Path) -> "Store":
        """The store in a folder.

        Raises:
            StoreError: The folder is none, is incomplete, or of another version.
        """
        folder = Path(folder)
        path = folder / SUMMARY
        if not path.is_file():
            state = "is incomplete" if (folder / CASES).is_dir() else "is not a store"
            raise StoreError(
                f"{folder}: {state} ({SUMMARY} is missing); run `medseg prepare "
                f"DATASET -o {folder}`, which continues where it was stopped"
            )
        summary: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if summary.get("version") != STORE_VERSION:
            raise StoreError(
                f"{folder}: store version {summary.get('version')}, expected "
                f"{STORE_VERSION}; run `medseg prepare` again"
            )
        return cls(folder, summary)

    @cached_property
    def plan(self) -> Plan:
        """What was decided about the data set."""
        return read_plan(self.folder / PLAN)

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """What was measured on the data set."""
        return read_fingerprint(self.folder / FINGERPRINT)

    @property
    def case_ids(self) -> tuple[str, ...]:
        """Names of the cases, in the data set's order."""
        return tuple(self._summary["cases"])

    @cached_property
    def splits(self) -> tuple[Split, ...]:
        """Cases to train on and to validate on, by fold."""
        if "splits" not in self._summary:  # a store of medseg 0.1
            return splits_of_folds({n: int(c["fold"]) for n, c in self._cases.items()})
        return tuple(
            Split(int(s["fold"]), train=tuple(s["train"]), val=tuple(s["val"]))
            for s in self._summary["splits"]
        )

    @property
    def patients(self) -> dict[str, str]:
        """The patient whom each case shows."""
        return {name: str(case["patient"]) for name, case in self._cases.items()}

    @property
    def manifest_hash(self) -> str:
        """Hash of the data set's files, patients and folds."""
        return str(self._summary["manifest_hash"])

    @property
    def licence(self) -> str:
        """The terms of the data as its description states them; else empty."""
        return str(self._summary.get("licence", ""))

    def image_hashes(self, case_ids: Iterable[str]) -> frozenset[str]:
        """Hashes of the image files of cases, by which they are known again.

        Stores that were made before there were any have none.
        """
        found = (self._case(case_id).get("image_hashes", ()) for case_id in case_ids)
        return frozenset(str(one) for hashes in found for one in hashes)

    def images(self, case_id: str) -> tuple[Path, ...]:
        """The scan's own files."""
        return tuple(Path(path) for path in self._case(case_id)["images"])

    def label(self, case_id: str) -> Path:
        """The reference label map's own file."""
        return Path(self._case(case_id)["label"])

    def unannotated(self, case_id: str) -> tuple[str, ...]:
        """Structures that a case does not annotate."""
        structures = self.plan.labels.structures
        return tuple(structures[n - 1] for n in self.case(case_id).unannotated)

    def case(self, case_id: str) -> StoredCase:
        """One case; nothing of it is read yet.

        Raises:
            StoreError: There is no such case.
        """
        self._case(case_id)
        return StoredCase(self.folder / CASES / case_id)

    def split(self, fold: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Cases to train on and to validate on.

        Raises:
            StoreError: There is no such fold, or one of the two is empty.
        """
        found = next((split for split in self.splits if split.fold == fold), None)
        if found is None:
            known = [split.fold for split in self.splits]
            raise StoreError(f"{self.folder}: no fold {fold}, only {known}")
        if not found.train or not found.val:
            what = "train on" if not found.train else "validate"
            raise StoreError(
                f"{self.folder}: fold {fold} leaves no case to {what}; --fold none "
                f"trains on all {len(self.case_ids)} and scores none"
            )
        return found.train, found.val

    @property
    def _cases(self) -> dict[str, dict[str, Any]]:
        cases: dict[str, dict[str, Any]] = self._summary["cases"]
        return cases

    def _case(self, case_id: str) -> dict[str, Any]:
        if case_id not in self._cases:
            raise StoreError(f"{self.folder}: no case is called {case_id}")
        return self._cases[case_id]
