"""How to predict."""

from typing import Literal

from pydantic import Field

from medseg.settings import Settings


class InferenceSettings(Settings):
    """Windows, overlap and flips."""

    overlap: float = Field(default=0.5, ge=0, lt=1)
    """Share of a window that its neighbour covers again."""
    window_size: tuple[int, ...] | None = None
    """Voxels of a window; None takes the training patch."""
    flips: bool = False
    """Average the logits over all mirror images of the scan (test-time flips)."""
    batch_size: int = Field(default=1, ge=1)
    """Windows per pass through the network."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Number format of the convolutions."""
