"""Structures that a case does not annotate: by a table, or its label map's own list.

A site that outlined only the tumour did not say where the organ is; taken for
background there, the organ would be unlearnt. The column ``not_annotated`` names such
structures case by case, ``annotated_structures`` names the others; several are
separated by semicolons. Label maps that list what they hold (3D Slicer's
``.seg.nrrd``, DICOM SEG) say it themselves: a structure of the scheme that is not in
the list was not drawn.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from medseg.datasets.case import Case, Dataset
from medseg.datasets.patients import CASE_COLUMNS, first_column, read_table, side_tables
from medseg.errors import InputError
from medseg.io.label_reading import plain_name
from medseg.labels import LabelScheme
from medseg.reading import listed_structures

NOT_ANNOTATED = "not_annotated"
ANNOTATED = "annotated_structures"


def cell_of(row: Mapping[str, str], scheme: LabelScheme) -> tuple[str, ...]:
    """The structures that a row of a table says are not annotated."""
    named = _names(row.get(NOT_ANNOTATED, ""))
    if annotated := _names(row.get(ANNOTATED, "")):
        unknown = tuple(name for name in annotated if name not in scheme.structures)
        rest = tuple(name for name in scheme.structures if name not in annotated)
        named += (*unknown, *rest)  # the data set refuses names that it does not know
    return tuple(dict.fromkeys(named))


def with_annotations(dataset: Dataset) -> Dataset:
    """The data set with what tables beside it and label maps say of its cases.

    Raises:
        DatasetError: A table names a structure that there is not.
    """
    if dataset.scheme.instances or len(dataset.scheme.structures) < 2:
        return dataset
    told = _from_tables(dataset.root, dataset.scheme)

    def complete(case: Case) -> Case:
        found = (*case.unannotated, *told.get(case.case_id, ()))
        found += _from_label(case, dataset.scheme)
        return replace(case, unannotated=tuple(dict.fromkeys(found)))

    return replace(
        dataset,
        cases=tuple(map(complete, dataset.cases)),
        test_cases=tuple(map(complete, dataset.test_cases)),
        unlisted_cases=tuple(map(complete, dataset.unlisted_cases)),
    )


def _from_tables(folder: Path, scheme: LabelScheme) -> dict[str, tuple[str, ...]]:
    """By case id, from the tables that may name patients, too."""
    found: dict[str, tuple[str, ...]] = {}
    for path in side_tables(folder):
        rows = read_table(path)
        column = first_column(rows[0], CASE_COLUMNS) if rows else None
        if column is not None:
            found |= {row[column]: cell_of(row, scheme) for row in rows}
    return found


def _from_label(case: Case, scheme: LabelScheme) -> tuple[str, ...]:
    """Structures missing from a label map's own list, where the list names others."""
    if case.label is None:
        return ()
    try:
        listed = listed_structures(case.label)
    except (InputError, OSError):
        return ()  # whoever reads the voxels says what is wrong
    plain = {plain_name(name) for name in listed}
    missing = tuple(n for n in scheme.structures if plain_name(n) not in plain)
    return missing if len(missing) < len(scheme.structures) else ()


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(";") if part.strip())
