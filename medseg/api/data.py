"""Data sets: read, examined, prepared; scans converted."""

from pathlib import Path
from typing import Literal

from medseg import datasets
from medseg.api.shown import ShowProgress, shown
from medseg.conversion import convert as conversion
from medseg.conversion.table import ConversionSummary
from medseg.datasets import Dataset
from medseg.datasets.doctor import Report, examine
from medseg.labels import LabelScheme
from medseg.runs.prepare import prepare_dataset
from medseg.store import Store
from medseg.types import AnyPath, Spacing


def load_dataset(
    path: AnyPath, *, labels: LabelScheme | None = None, root: AnyPath | None = None
) -> Dataset:
    """The data set in a folder, or the one that a table or a description names.

    Args:
        path: A folder of the Decathlon's, nnU-Net's or BIDS's layout, of images beside
            label maps, or a manifest (CSV, TSV, JSON, YAML).
        labels: What the values mean; wins over what the data set says.
        root: Folder that a table's paths start from; the table's own by default.

    Raises:
        MissingFileError: There is no such path.
        DatasetError: The layout is not understood, or contradicts itself.

    Examples:
        >>> import medseg
        >>> study = medseg.testing.make_tiny_study("tiny")
        >>> dataset = medseg.load_dataset("tiny")
        >>> len(dataset.cases), dataset.scheme.structures
        (6, ('ball', 'kernel'))
    """
    folder = None if root is None else Path(root)
    return datasets.load_dataset(Path(path), scheme=labels, root=folder)


def doctor(
    data: AnyPath,
    *,
    labels: LabelScheme | None = None,
    root: AnyPath | None = None,
    progress: ShowProgress = True,
) -> Report:
    """What is wrong with a data set, each finding with a repair; nothing is changed.

    Args:
        data: Any layout that `load_dataset` takes.
        labels: What the values should mean; the data set's own by default.
        root: Folder that a table's paths start from.
        progress: Show how far it is.

    Raises:
        MissingFileError: There is no such path.
        DatasetError: The layout is not understood.

    Examples:
        >>> import medseg
        >>> report = medseg.doctor("tiny", progress=False)
        >>> report.verdict
        'nothing to complain about'
    """
    folder = None if root is None else Path(root)
    return examine(Path(data), scheme=labels, root=folder, progress=shown(progress))


def prepare(
    data: AnyPath,
    out: AnyPath,
    *,
    labels: LabelScheme | None = None,
    root: AnyPath | None = None,
    dims: Literal[2, 3] | None = None,
    target_spacing: Spacing | None = None,
    folds: int = 5,
    seed: int = 0,
    skip_broken: bool = False,
    device: str = "auto",
    progress: ShowProgress = True,
) -> Store:
    """Measures a data set, plans, and writes the prepared store that training reads.

    `train` does so by itself; a store prepared once serves many runs.

    Args:
        data: Any layout that `load_dataset` takes.
        out: Folder of the store; what was begun there is completed.
        labels: What the values mean, where the data set does not say.
        root: Folder that a table's paths start from.
        dims: 2 for slices, 3 for volumes; decided by the data where left out.
        target_spacing: Voxel size in mm to resample to; decided likewise.
        folds: How many, by patient, unless the data set came with splits.
        seed: Another seed gives other folds.
        skip_broken: Go on without cases that cannot be used.
        device: What training will run on: ``auto``, ``cpu`` or ``cuda[:n]``.
        progress: Show how far it is.

    Raises:
        MedsegError: The data set cannot be used, or the store cannot be written.

    Examples:
        >>> import medseg
        >>> store = medseg.prepare("tiny", "stores/tiny", progress=False)
        >>> len(store.case_ids), store.plan.spatial_dims
        (6, 3)
    """
    return prepare_dataset(
        Path(data),
        Path(out),
        root=None if root is None else Path(root),
        scheme=labels,
        spatial_dims=dims,
        target_spacing=target_spacing,
        num_folds=folds,
        seed=seed,
        skip_broken=skip_broken,
        device=device,
        progress=shown(progress),
    )


def convert(
    scans: AnyPath,
    out: AnyPath,
    *,
    series: str | None = None,
    structures: str | None = None,
    strict: bool = False,
    key: AnyPath | None = None,
    progress: ShowProgress = True,
) -> ConversionSummary:
    """Writes every volume of a tree, DICOM or other, as NIfTI, with a record of each.

    Args:
        scans: A scan, or a folder of anything.
        out: Folder of the results and of ``conversion.csv``; with labels among the
            images also of ``manifest.csv``, a data set.
        series: Rule for DICOM series, such as ``"Modality=CT"``.
        structures: Labels to take of DICOM SEG and RTSTRUCT, such as
            ``"tumour=GTV*, heart"``; all by default.
        strict: Refuse scans that need repair.
        key: File with the key of the pseudonyms of DICOM scans.
        progress: Show how far it is.

    Raises:
        InputError: There is no such path, or no scan below it.
        OutputError: The folder cannot be written.

    Examples:
        >>> import medseg
        >>> summary = medseg.convert("tiny/imagesTr", "converted", progress=False)
        >>> summary.describe()
        '6 converted'
    """
    return conversion.convert(
        Path(scans),
        Path(out),
        series=series,
        strict=strict,
        structures=structures,
        key_path=None if key is None else Path(key),
        progress=shown(progress),
    )
