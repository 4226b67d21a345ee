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
    engine: Literal["auto", "torch", "torch-compile", "onnx", "openvino"] = "auto"
    """What runs the network; auto takes the fastest that is installed and agrees with
    torch in float32 (a short measurement, remembered in the model folder)."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format of the convolutions; auto takes a short format where the device
    computes in it and the results agree, float32 where no engine was chosen."""
    ensemble: Literal["logits", "probabilities"] = "logits"
    """What is averaged over the models of an ensemble."""
