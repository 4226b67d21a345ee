"""The interface of all engines, and a network whose core another library runs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from medseg.networks.core import Core
from medseg.networks.network import SegmentationNetwork
from medseg.networks.plugin_network import PluginCore

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


class ForeignCore(Core):
    """Takes the place of a core, with the same sizes, and runs something else."""

    def __init__(self, core: Core, run: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.divisor = core.divisor
        self._axis_output = core.axis_output
        self._run = run

    def axis_output(self, size: int, axis: int) -> int | None:
        """Voxels along an axis that come out; None if the input does not fit."""
        return self._axis_output(size, axis)

    def forward(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Logits at full resolution, twice: there are no deeper features to return."""
        logits = self._run(x)
        return [logits], logits


def with_foreign_core(
    network: SegmentationNetwork, run: Callable[[Tensor], Tensor]
) -> SegmentationNetwork:
    """The network, with its core run by `run`."""
    return SegmentationNetwork(
        ForeignCore(network.core, run),
        spatial_dims=network.spatial_dims,
        in_channels=network.in_channels,
        out_channels=network.out_channels,
    ).eval()


class CoreLogits(nn.Module):
    """The logits at full resolution of a core, and nothing else: what is exported."""

    def __init__(self, core: nn.Module) -> None:
        super().__init__()
        self.core = core

    def forward(self, image: Tensor) -> Tensor:
        """Logits (N, L, *spatial) of images whose sizes the core can take."""
        logits: Tensor = self.core(image)[0][0]
        return logits


def takes_any_size(network: SegmentationNetwork) -> bool:
    """Whether one recorded graph of the core is right for every size that fits.

    Not where sizes decide how the layers are put together: unpadded convolutions crop
    by computed margins, and shifted windows are masked by size. Of networks by path
    this is believed of those alone whose sizes are those of their strides: others pad
    inside, by amounts that a recorded graph would keep (MONAI's BasicUNet).
    """
    if isinstance(network.core, PluginCore) and not network.core.sizes.are_strides:
        return False
    body = getattr(network.core, "body", None)
    shifts = type(body).__name__ == "SwinUNETR"
    return not (any(network.output_margin) or shifts)


def smallest_example(network: SegmentationNetwork) -> tuple[int, ...]:
    """A small size that the core can take, with room at its coarsest level."""
    return network.core.input_size(tuple(2 * n for n in network.divisor))
