"""The interface of all engines."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

Name = Literal["torch", "torch-compile", "onnx", "openvino"]
Precision = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class Variant:
    """An engine and the number format it computes in."""

    name: Name
    precision: Precision

    def __str__(self) -> str:
        """In words, such as ``"openvino bfloat16"``."""
        return f"{self.name} {self.precision}"


REFERENCE = Variant("torch", "float32")
"""What all others are compared with; it always works."""


@dataclass(frozen=True)
class Engine:
    """A network that is ready to run, called like the network itself."""

    variant: Variant
    run: Callable[[Tensor], Tensor]

    def __call__(self, windows: Tensor) -> Tensor:
        """Float32 logits (N, L, *spatial) of windows (N, C, *spatial), same device."""
        return self.run(windows).float()
