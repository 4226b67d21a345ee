"""Any understood layout becomes a `Dataset`."""

from pathlib import Path

from medseg.datasets.case import Dataset
from medseg.datasets.msd import SPECIFICATION, load_msd
from medseg.errors import DatasetError, MissingFileError
from medseg.labels import LabelScheme


def load_dataset(path: Path, *, scheme: LabelScheme | None = None) -> Dataset:
    """The data set in a folder, or the one that a manifest lists.

    Raises:
        MissingFileError: There is no such path.
        DatasetError: The layout is not understood.
    """
    path = Path(path)
    if not path.exists():
        raise MissingFileError(f"{path}: no such file or folder")
    if (path / SPECIFICATION).is_file():
        return load_msd(path, scheme=scheme)
    raise DatasetError(f"{path}: no {SPECIFICATION} found")
