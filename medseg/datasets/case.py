"""What a data set is: cases with patients, images, label maps and a label scheme."""

import hashlib
from collections import Counter
from collections.abc import Container
from dataclasses import dataclass, replace
from pathlib import Path

from medseg.datasets.splits import Split, some
from medseg.errors import DatasetError
from medseg.files import hash_text
from medseg.labels import LabelScheme
from medseg.setting_errors import nearest_name

_LONGEST_ID = 150
OWN_PATIENT = "each case is its own patient"
FROM_FOLDERS = "patients from the names of the subfolders"
FOUND_IN_LABEL_MAPS = "found in the label maps"


@dataclass(frozen=True)
class Case:
    """One examination to segment.

    Examples:
        >>> import medseg
        >>> case = medseg.load_dataset("tiny").case("tiny_000")
        >>> case.patient_id, case.images[0].name
        ('patient_001', 'tiny_000.nii.gz')
    """

    case_id: str
    """Unique in the data set; predictions are named after it."""
    patient_id: str
    """Whom the case shows; folds never divide a patient."""
    images: tuple[Path, ...]
    """One file per channel, or one file that holds all channels."""
    label: Path | None = None
    """The reference label map; None where there is none."""
    unannotated: tuple[str, ...] = ()
    """Structures that nobody drew in this case: where they are is not known, so that
    they are neither trained on nor scored here."""

    def __post_init__(self) -> None:
        """Refuses ids that cannot name a file, and cases without an image.

        Ids that are no UTF-8, as old file names are, or too long for a file's name
        with a suffix are changed, and end in eight digits of their hash.
        """
        object.__setattr__(self, "case_id", _usable(self.case_id))
        object.__setattr__(self, "patient_id", _usable(self.patient_id))
        if not self.case_id or set(self.case_id) & set('/\\:*?"<>|\n'):
            raise DatasetError(
                f"case id {self.case_id!r} cannot be part of a file name; use "
                "letters, digits, '-', '_' and '.'"
            )
        if not self.images:
            raise DatasetError(f"{self.case_id}: no image is given")


def _usable(text: str) -> str:
    """The text, or one like it that every table and file system takes."""
    raw = text.encode("utf-8", "surrogateescape")
    try:
        if len(raw) <= _LONGEST_ID and raw.decode("utf-8") == text:
            return text
    except UnicodeDecodeError:
        pass
    known = raw[:_LONGEST_ID].decode("utf-8", "ignore")
    return f"{known}_{hashlib.sha256(raw).hexdigest()[:8]}"


@dataclass(frozen=True)
class Dataset:
    """Cases that share channels and a label scheme, whatever their layout on disk.

    Examples:
        >>> import medseg
        >>> dataset = medseg.load_dataset("tiny")
        >>> dataset.channels, dataset.scheme.structures, len(dataset.patients)
        (('synthetic0',), ('ball', 'kernel'), 5)
    """

    name: str
    root: Path
    """Folder the data set was read from."""
    channels: tuple[str, ...]
    """What each input channel holds, such as ``("FLAIR", "T1c")``."""
    scheme: LabelScheme
    cases: tuple[Case, ...]
    """Cases with a label map: what is trained on and validated."""
    layout: str = "given"
    """How the folder was understood, in words."""
    patient_source: str = OWN_PATIENT
    """Where the patient ids come from, in words."""
    scheme_source: str = "as described"
    """Where the label scheme comes from, in words."""
    test_cases: tuple[Case, ...] = ()
    """Cases that the data set's author holds out, with or without a label map."""
    splits: tuple[Split, ...] = ()
    """Training and validation cases of each fold, where the data set came with them;
    they are kept exactly."""
    unlisted_cases: tuple[Case, ...] = ()
    """Labelled cases that the given splits leave out: nothing is done with them."""
    licence: str = ""
    """The terms of the data, where its description states them."""
    checksums: Path | None = None
    """List of SHA-256 sums of the files, where the data set came with one."""
    lone_images: tuple[Path, ...] = ()
    """Images among the training data that have no label map."""
    lone_labels: tuple[Path, ...] = ()
    """Label maps that have no image."""

    def __post_init__(self) -> None:
        """Refuses a case id that occurs twice, and unknown or no structures."""
        counts = Counter(
            case.case_id
            for case in (*self.cases, *self.test_cases, *self.unlisted_cases)
        )
        self._check_annotations()
        twice = sorted(case_id for case_id, count in counts.items() if count > 1)
        if twice:
            raise DatasetError(
                f"{self.root}: {len(twice)} case ids occur twice ({some(twice)}); "
                "give each case its own"
            )

    def _check_annotations(self) -> None:
        known = self.scheme.structures
        for case in (*self.cases, *self.test_cases, *self.unlisted_cases):
            for name in case.unannotated:
                if name not in known:
                    raise DatasetError(
                        f"{case.case_id}: said not to annotate {name!r}, which is no "
                        f"structure{nearest_name(name, known)}; known: "
                        f"{', '.join(known)}"
                    )
            if case.unannotated and set(case.unannotated) >= set(known):
                raise DatasetError(
                    f"{case.case_id}: annotates none of the structures; leave the "
                    "case out"
                )

    def __repr__(self) -> str:
        """The data set in one line, without its cases."""
        return f"Dataset({self.describe()})"

    @property
    def patients(self) -> tuple[str, ...]:
        """Patients of the labelled cases, sorted."""
        return tuple(sorted({case.patient_id for case in self.cases}))

    @property
    def has_guessed_patients(self) -> bool:
        """Whether names of folders, and nobody's word, say who is who."""
        return self.patient_source.startswith(FROM_FOLDERS)

    @property
    def orphans(self) -> tuple[Path, ...]:
        """Images without a label map and label maps without an image."""
        return self.lone_images + self.lone_labels

    @property
    def manifest_hash(self) -> str:
        """SHA-256 of which case uses which files for which patient, and of splits.

        Paths count relative to the root, so that a copied data set keeps its hash;
        file contents do not count.
        """
        lines = [
            f"{case.case_id}\t{case.patient_id}\tNone\t{self._names(case)}"
            for case in sorted(self.cases, key=lambda case: case.case_id)
        ]
        for case in self.cases:
            if case.unannotated:
                lines.append(f"{case.case_id}\t{sorted(case.unannotated)}")
        for split in self.splits:
            lines.append(f"{split.fold}\t{sorted(split.train)}\t{sorted(split.val)}")
        return hash_text("\n".join([self.scheme.model_dump_json(), *lines]))

    def only(self, case_ids: Container[str]) -> "Dataset":
        """The data set without the labelled cases that are not among those given."""
        kept = tuple(case for case in self.cases if case.case_id in case_ids)
        if len(kept) == len(self.cases):
            return self
        splits = tuple(split.only(case_ids) for split in self.splits)
        return replace(self, cases=kept, splits=splits)

    def case(self, case_id: str) -> Case:
        """The case with the given id, labelled or held out.

        Raises:
            DatasetError: There is none.
        """
        for case in (*self.cases, *self.test_cases, *self.unlisted_cases):
            if case.case_id == case_id:
                return case
        raise DatasetError(f"{self.root}: no case is called {case_id}")

    def describe(self) -> str:
        """The data set in one line, for logs."""
        parts = [
            f"{self.name}: {len(self.cases)} cases of {len(self.patients)} patients",
            f"layout {self.layout}",
            self.patient_source,
            f"channels {', '.join(self.channels)}",
            f"labels {self.scheme.describe()} ({self.scheme_source})",
        ]
        if self.splits:
            parts.append(f"{len(self.splits)} given splits")
        if partly := sum(bool(case.unannotated) for case in self.cases):
            parts.append(f"{partly} do not annotate all structures")
        if self.unlisted_cases:
            parts.append(f"{len(self.unlisted_cases)} in no given split, left out")
        if self.test_cases:
            parts.append(f"{len(self.test_cases)} held out")
        if self.orphans:
            parts.append(f"{len(self.orphans)} files without a partner")
        return "; ".join(parts)

    def _names(self, case: Case) -> list[str]:
        files = [*case.images, *([case.label] if case.label else [])]
        return [_relative(path, self.root) for path in files]


def _relative(path: Path, root: Path) -> str:
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()
