"""Cases, layouts on disk, manifests and folds."""

from medseg.datasets.case import Case, Dataset
from medseg.datasets.folds import make_folds
from medseg.datasets.load import load_dataset
from medseg.datasets.tiny import make_tiny_study

__all__ = ["Case", "Dataset", "load_dataset", "make_folds", "make_tiny_study"]
