"""A run that was trained: its folder, opened."""

import json
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.errors import MissingFileError
from medseg.model import DESCRIPTION
from medseg.prediction.segmentation_model import SegmentationModel
from medseg.reporting.picture import Picture
from medseg.reporting.text import format_summary
from medseg.runs.config import RunConfig
from medseg.runs.fit_report import HISTORY
from medseg.runs.held_out import FOLDER
from medseg.runs.time_spent import FILE as TIMES
from medseg.settings import load_settings
from medseg.tables import read_frame
from medseg.types import AnyPath

if TYPE_CHECKING:
    import pandas as pd

CONFIG = "config.yaml"
_SIGNS = (CONFIG, f"{FOLDER}/summary.csv", f"model/{DESCRIPTION}")


class Run:
    """The folder of a run: what it was trained with, its scores, its model.

    Several runs in one folder, of all folds or of an ensemble, open as one: their
    scores together, and a model of all of them.

    Attributes:
        folder: The run's folder.

    Examples:
        >>> import medseg
        >>> run = medseg.Run("runs/tiny")  # trained by medseg.train
        >>> run.scores.index.tolist()
        ['ball', 'kernel', 'mean of structures']
        >>> "dice/ball" in run.curves
        True
        >>> run.report.name
        'report.html'
        >>> run.model.channels
        ('synthetic0',)
    """

    def __init__(self, folder: AnyPath) -> None:
        """Opens a folder that `medseg.train` wrote.

        Raises:
            MissingFileError: There is no run.
        """
        self.folder = Path(folder)
        if not any((self.folder / name).is_file() for name in _SIGNS):
            raise MissingFileError(
                f"{folder}: no run; expected a folder that `medseg train` wrote, with "
                f"one of {', '.join(_SIGNS)}"
            )

    @cached_property
    def model(self) -> SegmentationModel:
        """The trained model, ready to predict; `medseg.load_model` takes options.

        Raises:
            MissingFileError: The run has no model yet.
        """
        return SegmentationModel.load(self.folder)

    @cached_property
    def config(self) -> RunConfig:
        """The resolved configuration.

        Raises:
            MissingFileError: The folder holds several runs, each with its own.
        """
        return load_settings(RunConfig, self.folder / CONFIG)

    @property
    def summary(self) -> "pd.DataFrame":
        """Scores of the held-out cases: a row per structure and metric, with intervals.

        Raises:
            MissingFileError: Nothing was held out, or the run has not been scored.
        """
        return read_frame(self._file(f"{FOLDER}/summary.csv"))

    @property
    def scores(self) -> "pd.DataFrame":
        """Mean scores of the held-out cases: a row per structure, a column per metric.

        Raises:
            MissingFileError: Nothing was held out, or the run has not been scored.
        """
        table = self.summary.pivot_table(
            index="structure", columns="metric", values="mean", sort=False
        )
        return table.rename_axis(columns=None)

    @property
    def cases(self) -> "pd.DataFrame":
        """Scores of the held-out cases: a row per case and structure.

        Raises:
            MissingFileError: Nothing was held out, or the run has not been scored.
        """
        return read_frame(self._file(f"{FOLDER}/cases.csv"))

    @property
    def curves(self) -> "pd.DataFrame":
        """What was measured on the way: a row per step, a column per measurement.

        Raises:
            MissingFileError: The run took no step, or the folder holds several runs.
        """
        table = read_frame(self._file(HISTORY)).pivot_table(
            index="step", columns="metric", values="value", sort=False
        )
        return table.sort_index().rename_axis(columns=None)

    @property
    def report(self) -> Path:
        """The page with scores, pictures and curves.

        Raises:
            MissingFileError: The run has not been scored.
        """
        return self._file("report.html")

    @property
    def picture(self) -> Picture:
        """The mosaic of held-out cases: fill is the reference, the line the prediction.

        Raises:
            MissingFileError: The run has not been scored.
        """
        return Picture.read(self._file(f"{FOLDER}/mosaic.png"))

    @property
    def seconds(self) -> dict[str, float]:
        """Where the time went, part by part; empty where the run did not note it."""
        path = self.folder / TIMES
        if not path.is_file():
            return {}
        spent: dict[str, float] = json.loads(path.read_text(encoding="utf-8"))
        return spent

    def __repr__(self) -> str:
        """The folder, and the scores of its held-out cases where there are some."""
        head = f"Run({str(self.folder)!r})"
        if not (self.folder / FOLDER / "summary.csv").is_file():
            return head
        return f"{head}\n{format_summary(self.summary, confidence=self._confidence)}"

    @property
    def _confidence(self) -> float:
        path = self.folder / FOLDER / "summary.json"
        settings = json.loads(path.read_text(encoding="utf-8"))["settings"]
        return float(settings["confidence"])

    def _file(self, name: str) -> Path:
        path = self.folder / name
        if not path.is_file():
            raise MissingFileError(
                f"{path}: not there; a run that holds out no case or was stopped has "
                "no scores, and one of several runs in a folder its own curves"
            )
        return path
