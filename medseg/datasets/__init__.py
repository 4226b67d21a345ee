"""Cases, layouts on disk, manifests and folds."""

from medseg.datasets.case import Case, Dataset
from medseg.datasets.folds import make_folds, make_splits
from medseg.datasets.load import load_dataset
from medseg.datasets.splits import Split

__all__ = [
    "Case",
    "Dataset",
    "Split",
    "load_dataset",
    "make_folds",
    "make_splits",
]
