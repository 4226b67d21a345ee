"""Names of patients and cases, told by the names of folders and files.

A level of folders may be a patient (``patient001``), something of a patient (a date, a
session) or something of many (a site, a grade, ``training``). The deepest folder that
is nothing of a patient is the patient, unless several cases in it are named apart.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg.datasets.case import FROM_FOLDERS, OWN_PATIENT
from medseg.datasets.places import SPLIT_WORDS, folder_name, words_of
from medseg.io import scan_stem

_NAMES = {
    "BIDS subjects": re.compile(r"^(sub-[A-Za-z0-9]+)(?![A-Za-z0-9])"),
    "BraTS numbers": re.compile(r"^(BraTS-[A-Za-z]+-\d{5})-\d{3}(?!\d)"),
    "TCGA barcodes": re.compile(r"^(TCGA-[A-Z0-9]{2}-[A-Z0-9]{4})(?![A-Z0-9])"),
}
_PATIENT = re.compile(
    r"^(p|pt|pat|patient|subject|subj|sub|case|id|mouse|rat|dog|participant)"
    r"[-_ ]?\d+$|^\d+$",
    re.IGNORECASE,
)
_OF_A_PATIENT = re.compile(
    r"^(ses|session|visit|v|tp|time|timepoint|fu|followup|follow-up|baseline|week|month|"
    r"day|year|pre|post|study|scan|exam|series|image)[-_ ]?[a-z]?\d*$"
    r"|^\d{1,2}[-.]\d{1,2}[-.]\d{2,4}(\D.*)?$|^(19|20)\d{2}[-_.]?\d{2}([-_.]?\d{2})?(\D.*)?$"
    r"|^(anat|dwi|perf|func|pet|ct|mr|mri|t1|t2|flair)$",
    re.IGNORECASE,
)
_GROUP_WORDS = {
    "site", "center", "centre", "hospital", "clinic", "scanner", "vendor", "batch",
    "part", "fold", "group", "cohort", "hgg", "lgg", "healthy", "control", "controls",
    "benign", "malignant", "normal", "positive", "negative", "set", "dataset",
}  # fmt: skip


@dataclass(frozen=True)
class CasePath:
    """Where a case lies."""

    folders: tuple[str, ...]
    """Folders below the data set's root, without those that only say what is in."""
    name: str
    """As its files are named; empty where only its folders are."""


def patients_of(cases: Mapping[str, CasePath]) -> tuple[dict[str, str], str]:
    """Patient by case id, and in words where that comes from.

    Args:
        cases: Where each case lies, by its id.
    """
    return _of_known_names(cases) or _of_folders(cases) or _each_its_own(cases)


def _each_its_own(cases: Mapping[str, CasePath]) -> tuple[dict[str, str], str]:
    return {key: key for key in cases}, OWN_PATIENT


def _of_known_names(
    cases: Mapping[str, CasePath],
) -> tuple[dict[str, str], str] | None:
    """Patients from names that hold them by a rule, where all names do."""
    for what, pattern in _NAMES.items():
        found = {
            key: match[1]
            for key, place in cases.items()
            if (match := pattern.match(_last_name(place)))
        }
        if cases and len(found) == len(cases):
            return found, f"patients from the {what} in the names"
    return None


def _of_folders(cases: Mapping[str, CasePath]) -> tuple[dict[str, str], str] | None:
    """Patients from folders, where every case lies in one that may be a patient's."""
    levels = {key: _levels(place.folders) for key, place in cases.items()}
    if not cases or not all(levels.values()):
        return None
    paths = {key: _patient_path(parts) for key, parts in levels.items()}
    counts = Counter(paths.values())
    doubtful = _doubtful(paths, counts, cases)
    groups = [name for name in doubtful if _is_group(name)]
    if groups and len(groups) == len(doubtful) == len({path[-1] for path in counts}):
        return None
    chosen = {
        key: key if path[-1] in groups else _shortest(path, list(counts))
        for key, path in paths.items()
    }
    unsure = [name for name in doubtful if name not in groups]
    hint = (
        f", such as {unsure[0]}; name them in a table if it is none" if unsure else ""
    )
    return chosen, FROM_FOLDERS + hint


def _doubtful(
    paths: Mapping[str, tuple[str, ...]],
    counts: Mapping[tuple[str, ...], int],
    cases: Mapping[str, CasePath],
) -> list[str]:
    """Folders with several cases that may be of several patients, sorted."""
    return sorted(
        {
            path[-1]
            for key, path in paths.items()
            if counts[path] > 1 and not _is_one_patient(path, cases[key].name)
        }
    )


def _last_name(place: CasePath) -> str:
    """The case's own name, or the folder that stands for it."""
    if place.name:
        return place.name
    named = [part for part in place.folders if not _OF_A_PATIENT.match(part)]
    return named[-1] if named else ""


def _levels(folders: tuple[str, ...]) -> tuple[str, ...]:
    """Folders without those that only say which split they are."""
    return tuple(part for part in folders if not _is_split(part))


def _is_split(name: str) -> bool:
    words = [word for word in words_of(name) if not word.isdigit()]
    rest = [word for word in words if word not in ("data", "batch", "set", "part")]
    return bool(rest) and all(word in SPLIT_WORDS for word in rest)


def _patient_path(parts: tuple[str, ...]) -> tuple[str, ...]:
    """The folders down to the patient's own."""
    end = len(parts)
    while end > 1 and _OF_A_PATIENT.match(parts[end - 1]):
        end -= 1
    named = [n for n in range(1, end) if _is_patient(parts[n - 1])]
    return (
        parts[: named[-1]] if named and not _is_patient(parts[end - 1]) else parts[:end]
    )


def _is_patient(name: str) -> bool:
    return bool(_PATIENT.match(name)) and not name.isdigit()


def _is_one_patient(path: tuple[str, ...], name: str) -> bool:
    """Whether several cases of a folder are surely of one patient."""
    return (
        bool(_PATIENT.match(path[-1]))
        or not name
        or name.lower().startswith(path[-1].lower())
    )


def _is_group(name: str) -> bool:
    """Whether a folder is named as something of many patients."""
    words = [word.rstrip("0123456789") for word in words_of(name)]
    return any(word in _GROUP_WORDS for word in words)


def _shortest(path: tuple[str, ...], paths: Sequence[tuple[str, ...]]) -> str:
    """The end of a path that no other path has."""
    for start in range(len(path) - 1, -1, -1):
        end = path[start:]
        if sum(other[-len(end) :] == end for other in paths) == 1:
            return "_".join(end)
    return "_".join(path)


_UNNAMEABLE = re.compile(r'[/\\:*?"<>|\n]')


def nameable(text: str) -> str:
    """A text without the characters that no file name may hold."""
    return _UNNAMEABLE.sub("_", text)


def distinct_ids(cases: Sequence[CasePath]) -> list[str]:
    """An id for each case: its name, led by as many folders as tell it from others.

    One folder leads where the name does not already begin with it, is not a split's
    (``train``), or the name is of digits alone. Where even all folders leave two
    alike, a number follows.
    """
    depths = [1] * len(cases)
    for _ in range(max((len(case.folders) for case in cases), default=0)):
        ids = [_id_of(case, depth) for case, depth in zip(cases, depths, strict=True)]
        counts = Counter(ids)
        if len(counts) == len(ids):
            break
        depths = [
            depth + (counts[name] > 1) for depth, name in zip(depths, ids, strict=True)
        ]
    ids = [_id_of(case, depth) for case, depth in zip(cases, depths, strict=True)]
    return _numbered(ids)


def ids_of_files(files: Sequence[Path], root: Path) -> list[str]:
    """An id for each listed file: its stem, or led by folders where stems recur.

    A stem that all files share says nothing; their folders are then the names.
    """
    stems = [scan_stem(file) for file in files]
    if len(set(stems)) == len(stems):
        return [nameable(stem) for stem in stems]
    same = len(set(stems)) == 1
    inside = [f.relative_to(root) if f.is_relative_to(root) else f for f in files]
    folders = [[part for part in f.parts[:-1] if part != f.anchor] for f in inside]
    for depth in range(1, max(map(len, folders)) + 1):
        ids = [
            "_".join([*parts[-depth:], *([] if same else [stem])]) or stem
            for parts, stem in zip(folders, stems, strict=True)
        ]
        if len(set(ids)) == len(ids):
            return [nameable(name) for name in ids]
    return stems  # the same file twice: refused as such


def _id_of(case: CasePath, depth: int) -> str:
    """A name for a case, with some of its folders."""
    own = case.name or (case.folders[-1] if case.folders else "case")
    above = case.folders if case.name else case.folders[:-1]
    lead = [part for part in above[-depth:] if not own.startswith(part)]
    if depth == 1 and not (case.name or own.isdigit()):
        lead = []
    if depth == 1 and lead and folder_name(lead[-1]).split:
        lead = []
    return nameable("_".join((*lead, own)))


def _numbered(ids: Sequence[str]) -> list[str]:
    found: list[str] = []
    for name in ids:
        free = (f"{name}_{n}" for n in range(2, len(ids) + 2))
        found.append(
            name if name not in found else next(n for n in free if n not in found)
        )
    return found
