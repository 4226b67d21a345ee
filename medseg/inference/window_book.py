"""The windows that were chosen for a model, remembered beside it."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from medseg.errors import OutputError
from medseg.files import write_text
from medseg.inference.exact_tiling import exact_axes
from medseg.inference.layout import Layout
from medseg.inference.window_choice import Windows
from medseg.inference.window_trials import EPSILON, Outcome, Trial, try_windows
from medseg.settings import Record
from medseg.types import ImageArray

if TYPE_CHECKING:
    from medseg.inference.predictor import Predictor

FILE = "windows.json"
"""Name of the record in a model folder."""


class TriedWindows(Record):
    """One candidate."""

    size: tuple[int, ...]
    """Voxels of a window, in the order of the network's axes."""
    overlap: float
    """Share that the next window covers again."""
    exact: bool
    """Tiles with halos of the theoretical receptive field."""
    difference: float
    """Mean of 1 − Dice against the reference."""


class WindowRecord(Record):
    """What the file holds."""

    weights: str
    """Identity of the weights it was measured with."""
    flips: bool = False
    """Whether mirror images were averaged."""
    chosen: TriedWindows
    """The windows to use."""
    epsilon: float
    """What difference was allowed."""
    tried: tuple[TriedWindows, ...] = ()
    """All candidates that were measured, in order."""
    reason: str = ""
    """Why tiles are not exact, where they are not."""


class WindowBook:
    """Chooses windows at first use and keeps the choice; a `Chooser`.

    A folder that cannot be written is no error: the next place is tried, and the last
    resort is to remember for as long as the process lives.
    """

    def __init__(self, places: Sequence[Path], *, weights: str) -> None:
        """Takes where the record may lie.

        Args:
            places: Files to read, and to write in this order of preference.
            weights: Identity of the model's weights; other records are ignored.
        """
        self._places = tuple(places)
        self._weights = weights
        self._known: Windows | None = None

    def __call__(
        self, predictor: "Predictor", image: ImageArray, notes: list[str]
    ) -> Windows:
        """The windows of the record, or measured on this scan if there is none."""
        if self._known is None:
            record = self._read(flips=_averages(predictor))
            if record is None:
                record = self.measure(predictor, image)
                if record is None:
                    return predictor.reference_windows
                notes.append(_in_words(record))
            self._known = _windows(record.chosen, predictor)
        return self._known

    def measure(
        self, predictor: "Predictor", image: ImageArray, *, epsilon: float = EPSILON
    ) -> WindowRecord | None:
        """Measures on a prepared scan and keeps what it comes to; None if it is bare.

        Args:
            predictor: Whose windows are wanted.
            image: Prepared scan, shape (C, I, J, K).
            epsilon: Largest mean of 1 − Dice against the reference.
        """
        outcome = try_windows(predictor, image, epsilon=epsilon)
        if outcome is None:
            return None
        flips = _averages(predictor)
        record = _record(outcome, self._weights, epsilon, flips=flips)
        for place in self._files(flips=flips):
            with suppress(OutputError, OSError):
                write_text(place, record.model_dump_json(indent=1) + "\n")
                break
        return record

    def _files(self, *, flips: bool) -> list[Path]:
        """Where the record lies; with mirror images it is another one."""
        if not flips:
            return list(self._places)
        return [place.with_stem(f"{place.stem}_flips") for place in self._places]

    def _read(self, *, flips: bool) -> WindowRecord | None:
        for place in self._files(flips=flips):
            try:
                record = WindowRecord.model_validate_json(place.read_text("utf-8"))
            except (OSError, UnicodeDecodeError, ValidationError):
                continue
            if (record.weights, record.flips) == (self._weights, flips):
                return record
        return None


def _averages(predictor: "Predictor") -> bool:
    return bool(predictor.settings.flips)


def _record(
    outcome: Outcome, weights: str, epsilon: float, *, flips: bool
) -> WindowRecord:
    return WindowRecord(
        weights=weights,
        flips=flips,
        chosen=_tried(Trial(outcome.windows, outcome.difference)),
        epsilon=epsilon,
        tried=tuple(_tried(trial) for trial in outcome.trials),
        reason=outcome.reason,
    )


def _tried(trial: Trial) -> TriedWindows:
    windows = trial.windows
    return TriedWindows(
        size=windows.size,
        overlap=windows.overlap,
        exact=windows.exact is not None,
        difference=trial.difference,
    )


def _windows(tried: TriedWindows, predictor: "Predictor") -> Windows:
    reference = predictor.reference_windows
    axes = exact_axes(predictor.network) if tried.exact else ""
    can_be_exact = not isinstance(axes, str) and not predictor.settings.flips
    if not tried.exact:
        return Windows(tried.size, tried.overlap, divisor=reference.divisor)
    if isinstance(axes, str) or not can_be_exact:
        return reference
    if predictor.forward is not None and any(axis.margin for axis in axes):
        return reference
    layout = Layout(predictor.plan.spatial_dims)
    return Windows(tried.size, tried.overlap, layout.axes(axes), reference.divisor)


def _in_words(record: WindowRecord) -> str:
    chosen = record.chosen
    size = " x ".join(str(n) for n in chosen.size)
    kind = "exact tiles" if chosen.exact else f"overlap {chosen.overlap:g}"
    return (
        f"windows chosen for this model: {size}, {kind}; 1 - Dice against overlap 0.5 "
        f"is {chosen.difference:.4f} on a part of it (allowed {record.epsilon:g})"
    )
