"""medseg: from a folder of scans to a trained, tracked, honestly scored model.

The names below are imported when they are first used, so that `import medseg` is
instant; each comes with an example in its docstring.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from medseg.telemetry import opt_out

opt_out()

try:
    __version__ = version("medseg")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0.0.0"

if TYPE_CHECKING:
    from medseg import testing as testing
    from medseg.api.data import convert, doctor, load_dataset, prepare
    from medseg.api.images import (
        measure_cells,
        read_label_map,
        read_volume,
        show,
        write_label_map,
        write_volume,
    )
    from medseg.api.models import export, inspect, load_model, predict
    from medseg.api.scores import compare, evaluate
    from medseg.api.training import train
    from medseg.datasets.case import Case, Dataset
    from medseg.errors import MedsegError
    from medseg.labels import LabelScheme
    from medseg.prediction.segmentation_model import SegmentationModel as Model
    from medseg.reporting.picture import Picture
    from medseg.runs.config import RunConfig
    from medseg.runs.run import Run
    from medseg.scoring.result import Evaluation
    from medseg.store.store import Store
    from medseg.volume import LabelMap, Volume

_PLACES = {
    "Case": "datasets.case",
    "Dataset": "datasets.case",
    "Evaluation": "scoring.result",
    "LabelMap": "volume",
    "LabelScheme": "labels",
    "MedsegError": "errors",
    "Model": "prediction.segmentation_model",
    "Picture": "reporting.picture",
    "Run": "runs.run",
    "RunConfig": "runs.config",
    "Store": "store.store",
    "Volume": "volume",
    "compare": "api.scores",
    "convert": "api.data",
    "doctor": "api.data",
    "evaluate": "api.scores",
    "export": "api.models",
    "inspect": "api.models",
    "load_dataset": "api.data",
    "load_model": "api.models",
    "measure_cells": "api.images",
    "predict": "api.models",
    "prepare": "api.data",
    "read_label_map": "api.images",
    "read_volume": "api.images",
    "show": "api.images",
    "train": "api.training",
    "write_label_map": "api.images",
    "write_volume": "api.images",
}
"""The module below medseg that each name comes from."""

_OTHER_NAMES = {"Model": "SegmentationModel"}
"""What a name is called in its module, where that differs."""

_PACKAGES = ("monai", "testing")
"""Packages that are reached as attributes, too."""

__all__ = [
    "Case",
    "Dataset",
    "Evaluation",
    "LabelMap",
    "LabelScheme",
    "MedsegError",
    "Model",
    "Picture",
    "Run",
    "RunConfig",
    "Store",
    "Volume",
    "__version__",
    "compare",
    "convert",
    "doctor",
    "evaluate",
    "export",
    "inspect",
    "load_dataset",
    "load_model",
    "measure_cells",
    "predict",
    "prepare",
    "read_label_map",
    "read_volume",
    "show",
    "train",
    "write_label_map",
    "write_volume",
]


def __getattr__(name: str) -> Any:
    """A name of the front door, imported when it is first asked for (PEP 562)."""
    if name in _PLACES:
        module = import_module(f"medseg.{_PLACES[name]}")
        found = getattr(module, _OTHER_NAMES.get(name, name))
        globals()[name] = found
        return found
    if name in _PACKAGES and find_spec(f"medseg.{name}") is not None:
        return import_module(f"medseg.{name}")
    raise AttributeError(f"module 'medseg' has no attribute {name!r}")


def __dir__() -> list[str]:
    """The names of the front door."""
    return sorted([*__all__, *_PACKAGES])
