"""Data sets listed in a table, one case a row; and writing such a table.

Columns: ``case_id``, ``patient_id``, ``image`` or one ``image_<channel>`` per
channel, ``label``, ``split``, ``fold`` and ``not_annotated``; only image columns are
required, other columns are passed over. Common synonyms are understood (``subject``,
``seg``, ``fold5``, ...), and where no column is called image, the columns that hold
file names of scans are the channels. Paths are relative to the table's folder.
"""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from medseg.datasets.case import OWN_PATIENT, Case, Dataset
from medseg.datasets.case_ids import ids_of_files
from medseg.datasets.description import write_description
from medseg.datasets.discovery import discover_channels, discover_scheme
from medseg.datasets.folds import divide_cases
from medseg.datasets.listed_paths import ListedPaths
from medseg.datasets.overrides import DatasetOverrides
from medseg.datasets.patients import (
    CASE_COLUMNS,
    NOT_ANNOTATED,
    PATIENT_COLUMNS,
    cell_of,
    first_column,
    read_table,
)
from medseg.datasets.splits import folds_of_splits
from medseg.datasets.table_splits import (
    Row,
    SplitColumns,
    find_split_columns,
    given_splits,
)
from medseg.errors import DatasetError
from medseg.io import is_scan
from medseg.tables import write_rows

IMAGE_COLUMNS = ("image", "img", "images", "image_path", "image_file", "scan_path")
LABEL_COLUMNS = (
    "label", "seg", "segmentation", "mask", "label_map", "labels", "annotation",
    "label_path", "mask_path", "seg_path", "ground_truth", "gt", "reference",
)  # fmt: skip


@dataclass(frozen=True)
class Columns:
    """Which column of a table holds what."""

    images: dict[str, str]
    """Column by channel name; the name is empty for a single column."""
    label: str | None
    case: str | None
    patient: str | None
    splits: SplitColumns


def load_manifest(
    path: Path, known: DatasetOverrides, *, root: Path | None = None
) -> Dataset:
    """The data set that a table lists.

    A split of ``test`` holds a case out; another case without a label is listed as an
    image without one. Splits and folds are kept exactly, as `table_splits` says.

    Args:
        path: CSV or TSV file.
        known: What the user said, or the YAML beside the table.
        root: Folder that paths are relative to; the table's own by default.

    Raises:
        UnreadableFileError: It is not a text table.
        DatasetError: A column or a value is missing or wrong; the row is named.
    """
    root = path.parent if root is None else root
    rows = read_table(path)
    if not rows:
        raise DatasetError(f"{path}: lists no case")
    columns = find_columns(rows, path)
    found = _cases_of(rows, columns, root, known)
    lines = {case.case_id: (line, row) for case, line, row in found}
    held_out, labelled, lone = _parts(found, columns)
    splits, listed = given_splits(
        {case.case_id: lines[case.case_id] for case in labelled}, columns.splits
    )
    cases, rest = divide_cases(labelled, listed)
    labels = [case.label for case in cases if case.label is not None]
    scheme = discover_scheme(labels, root=root, known=known)

    def annotated(some: Iterable[Case]) -> tuple[Case, ...]:
        return tuple(
            replace(case, unannotated=cell_of(lines[case.case_id][1], scheme))
            for case in some
        )

    source = f"patients from column '{columns.patient}' of {path.name}"
    return Dataset(
        name=known.name or _name(path),
        root=root,
        channels=discover_channels(
            [case.images for case in (cases or held_out or lone)],
            list(filter(None, columns.images)),
            known=known,
        ),
        scheme=scheme,
        cases=annotated(cases),
        layout=f"manifest {path.name}",
        patient_source=source if columns.patient else OWN_PATIENT,
        scheme_source=known.scheme_source,
        test_cases=annotated(held_out),
        splits=splits,
        unlisted_cases=annotated(rest),
        lone_images=tuple(image for case in lone for image in case.images),
    )


def _parts(
    found: Iterable[tuple[Case, int, Row]], columns: Columns
) -> tuple[list[Case], list[Case], list[Case]]:
    """Cases of a split of ``test``; of the others those with a label, and without."""
    held_out: list[Case] = []
    labelled: list[Case] = []
    lone: list[Case] = []
    for case, line, row in found:
        if columns.splits.is_test(row, line):
            held_out.append(case)
        else:
            (lone if case.label is None else labelled).append(case)
    return held_out, labelled, lone


def _cases_of(
    rows: list[dict[str, str]], columns: Columns, root: Path, known: DatasetOverrides
) -> list[tuple[Case, int, Row]]:
    """The case of each row, with the line and the row itself.

    Raises:
        DatasetError: A value is missing or wrong; the line is named.
    """
    path, listed_paths = columns.splits.path, ListedPaths(root)
    cells = [
        _cells(row, columns, listed_paths, f"{path}, line {line}")
        for line, row in enumerate(rows, start=2)
    ]
    listed_paths.say(path, known.progress)
    ids = ids_of_files([_naming_file(*files) for files in cells], root)
    return [
        (_case(row, columns, files, name), line, row)
        for line, (row, files, name) in enumerate(
            zip(rows, cells, ids, strict=True), start=2
        )
    ]


def find_columns(rows: list[dict[str, str]], path: Path) -> Columns:
    """Which column of a table holds what.

    Raises:
        DatasetError: No column holds images.
    """
    first = rows[0]
    label = first_column(first, LABEL_COLUMNS)
    images = _image_columns(rows, label)
    if not images:
        raise DatasetError(
            f"{path}: no column is called image or image_<channel>, and none holds "
            f"names of scans; found {', '.join(first)}"
        )
    return Columns(
        images=images,
        label=label,
        case=first_column(first, CASE_COLUMNS),
        patient=first_column(first, PATIENT_COLUMNS),
        splits=find_split_columns(rows, path),
    )


def write_manifest(path: Path, dataset: Dataset) -> None:
    """Writes a data set as a table, and names, channels and labels as YAML beside it.

    Raises:
        OutputError: A file cannot be written.
    """
    single = all(len(case.images) == 1 for case in dataset.cases)
    names = ["image"] if single else [f"image_{name}" for name in dataset.channels]
    folds, columns = folds_of_splits(dataset.splits), _fold_columns(dataset)
    partly = [NOT_ANNOTATED] if any(case.unannotated for case in dataset.cases) else []
    header = ["case_id", "patient_id", *names, "label", "split", "fold"]
    header += [*columns, *partly]
    rows = []
    for word, cases in (
        ("train", dataset.cases),
        ("test", dataset.test_cases),
        ("", dataset.unlisted_cases),
    ):
        for case in cases:
            name = case.case_id
            images = [_relative(image, path.parent) for image in case.images]
            label = _relative(case.label, path.parent) if case.label else ""
            fold = (folds or {}).get(name, "")
            own = [column.get(name, "") for column in columns.values()]
            if partly:
                own.append(";".join(case.unannotated))
            rows.append([name, case.patient_id, *images, label, word, fold, *own])
    write_rows(path, header, rows)
    write_description(path.with_suffix(".yaml"), dataset)


def _fold_columns(dataset: Dataset) -> dict[str, dict[str, str]]:
    """A column per split, of splits that a single fold column cannot say."""
    if folds_of_splits(dataset.splits) is not None:
        return {}
    return {
        f"fold_{split.fold}": dict.fromkeys(split.train, "train")
        | dict.fromkeys(split.val, "val")
        for split in dataset.splits
    }


def _image_columns(rows: list[dict[str, str]], label: str | None) -> dict[str, str]:
    if single := first_column(rows[0], IMAGE_COLUMNS):
        return {"": single}
    prefixed = [name for name in rows[0] if re.match(r"^(image|img|channel)_.", name)]
    named = {
        name.split("_", 1)[1]: name for name in prefixed if _holds_scans(rows, name)
    }
    if named:
        return named
    others = [name for name in rows[0] if name != label and _holds_scans(rows, name)]
    return {name if len(others) > 1 else "": name for name in others}


def _holds_scans(rows: list[dict[str, str]], column: str) -> bool:
    """Whether every filled cell of a column looks like the name of a scan."""
    cells = [row[column] for row in rows if row[column]]
    return bool(cells) and all("." in cell and is_scan(Path(cell)) for cell in cells)


_Files = tuple[tuple[Path, ...], Path | None]
"""Images of a case and its label map."""


def _cells(
    row: dict[str, str], columns: Columns, listed: ListedPaths, where: str
) -> _Files:
    """The files that a row names.

    Raises:
        DatasetError: An image's cell is empty.
    """
    empty = [name for name in columns.images.values() if not row[name]]
    if empty:
        raise DatasetError(f"{where}: column {', '.join(empty)} is empty")
    images = tuple(listed.path(row[name]) for name in columns.images.values())
    label = row[columns.label] if columns.label else ""
    return images, listed.path(label) if label else None


def _naming_file(images: tuple[Path, ...], label: Path | None) -> Path:
    """The file that a case without an id is named after."""
    return label if label is not None and len(images) > 1 else images[0]


def _case(row: dict[str, str], columns: Columns, files: _Files, name: str) -> Case:
    case_id = (row[columns.case] if columns.case else "") or name
    patient = (row[columns.patient] if columns.patient else "") or case_id
    return Case(case_id, patient, *files)


def _name(path: Path) -> str:
    """The folder's name for a table that is merely called manifest."""
    generic = path.stem.lower() in {"manifest", "dataset", "cases", "data"}
    return path.resolve().parent.name if generic else path.stem


def _relative(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path, folder)).as_posix()
