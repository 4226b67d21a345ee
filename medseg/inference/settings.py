"""How to predict."""

import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from medseg.errors import SettingsError
from medseg.settings import Settings

_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


def parse_bytes(text: str) -> int:
    """A number of bytes from text such as ``8g``, ``500m`` or ``2.5 GB``.

    Raises:
        SettingsError: The text is not a size.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?\s*", text.lower())
    size = float(match[1]) * _UNITS[match[2]] if match else 0.0
    if size < 1:
        raise SettingsError(f"memory size {text!r}: expected one such as 8g or 500m")
    return int(size)


def in_words(size: float) -> str:
    """A number of bytes as people write it, such as ``"7.5g"``."""
    if size >= 2**30:
        return f"{size / 2**30:.3g}g"
    return f"{max(size / 2**20, 1):.0f}m"


class InferenceSettings(Settings):
    """Windows, overlap and flips."""

    overlap: Literal["auto"] | Annotated[float, Field(ge=0, lt=1)] = "auto"
    """Share of a window that its neighbour covers again. Auto takes the windows that
    the model was calibrated for at the end of training: the cheapest whose label maps
    differ by less than a stated Dice from those of training patches that overlap by
    half; that overlap where it was not calibrated."""
    window_size: tuple[int, ...] | None = None
    """Voxels of a window; None takes the training patch."""
    flips: bool | None = None
    """Average the logits over test-time flips along the axes that training mirrored;
    None does what the scores of the model were made with. In a run's configuration,
    None is no."""
    batch_size: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    """Windows per pass through the network; auto takes several small ones at once on a
    GPU that has room for them, else one."""
    engine: Literal["auto", "torch", "torch-compile", "onnx", "openvino"] = "auto"
    """What runs the network; auto takes the fastest that is installed and agrees with
    torch in float32 (a short measurement, remembered in the user's cache)."""
    roi: Literal["auto", "all", "body", "coarse"] = "auto"
    """Where to look: ``all``; ``body``: where a CT is denser than air, with a margin;
    ``coarse``: about what a first pass over every second voxel finds, which may miss
    what is small; ``auto``: the body for CT, else all."""
    max_ram: int | None = None
    """Bytes that the process may hold, also as text such as ``8g``; None takes a safe
    share of what is free. Imported models of nnU-Net cannot take less: scans that need
    more are refused. MONAI bundles refuse any bound."""
    max_vram: int | None = None
    """The same for the memory of the GPU; refused for imported models."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format of the convolutions; auto takes a short format where the device
    computes in it and the results agree, float32 where no engine was chosen."""
    reproducible: bool = False
    """Only the reference engine, torch in float32: no choice that depends on this
    machine's speed is made."""
    fast: bool = False
    """Of imported models of nnU-Net: the networks run on the engine that is fastest
    here, instead of torch in float32; all else stays nnU-Net's. Only for models whose
    difference was measured at import."""
    ensemble: Literal["logits", "probabilities"] = "logits"
    """What is averaged over the models of an ensemble."""

    @property
    def least_batch_size(self) -> int:
        """Windows per pass whatever the device."""
        return 1 if self.batch_size == "auto" else self.batch_size

    def of_own_windows(self) -> list[str]:
        """Settings that were made and matter to medseg's own windows alone."""
        asked = {
            "roi": self.roi not in {"auto", "all"},
            "engine": not self.fast and self.engine not in {"auto", "torch"},
            "precision": not self.fast and self.precision not in {"auto", "float32"},
            "window_size": self.window_size is not None,
        }
        return [name for name, is_asked in asked.items() if is_asked]

    @model_validator(mode="after")
    def _reproducible_is_one_engine(self) -> "InferenceSettings":
        engine, precision = self.engine, self.precision
        if self.reproducible and (
            engine not in {"auto", "torch"} or precision not in {"auto", "float32"}
        ):
            raise ValueError(
                f"reproducible means engine torch in float32, not {engine} in "
                f"{precision}: leave one of them out"
            )
        return self

    @field_validator("max_ram", "max_vram", mode="before")
    @classmethod
    def _sizes_in_words(cls, value: Any) -> Any:
        return parse_bytes(value) if isinstance(value, str) else value
