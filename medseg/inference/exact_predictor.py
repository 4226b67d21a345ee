"""What stands in the place of medseg's own sliding windows for imported models."""

from pathlib import Path
from typing import Protocol

from medseg.volume import LabelMap, Volume


class ExactPredictor(Protocol):
    """Segments as the tool would that a model was imported from, or by several."""

    @property
    def has_probabilities(self) -> bool:
        """Whether `predict` can write them."""
        ...

    @property
    def description(self) -> str:
        """Everything besides weights and settings that decides a label map, as text."""
        ...

    def predict(
        self,
        volume: Volume,
        *,
        name: str = "scan",
        notes: list[str] | None = None,
        probabilities: Path | None = None,
    ) -> LabelMap:
        """The label map of a scan, on the scan's own grid.

        Args:
            volume: The scan as it was read; any orientation and spacing.
            name: Case or file, for error messages.
            notes: Gets a line for what was done otherwise than asked, or left out.
            probabilities: A .b2nd file (blosc2) to write them to, float16
                (L, I, J, K) on the scan's own grid; none by default.

        Raises:
            InputError: The scan does not fit the model.
            OutputError: The probabilities cannot be written.
            PredictionError: Memory does not suffice, or the model has no
                probabilities.
        """
        ...
