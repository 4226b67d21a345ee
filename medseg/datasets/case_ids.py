"""Names for cases that no two share, from the names of their files and folders."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from medseg.datasets.patient_folders import CasePath
from medseg.datasets.places import folder_name
from medseg.io import scan_stem

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
