"""The part of a model that goes to other programs, with a case to check it on."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from medseg.errors import ModelError
from medseg.golden import golden_image, golden_logits
from medseg.inference.engines.agreement import TOLERANCES
from medseg.inference.engines.engine import CoreLogits, takes_any_size
from medseg.model import Model
from medseg.networks.folding import fold
from medseg.networks.network import SegmentationNetwork

EXAMPLE = 32
"""Voxels along an axis of the example that is written beside the network."""


@dataclass(frozen=True)
class Portable:
    """A network from images to logits that needs nothing of medseg.

    Attributes:
        model: Where it comes from.
    """

    model: Model

    @property
    def network(self) -> SegmentationNetwork:
        """The network as trained."""
        assert isinstance(self.model.network, SegmentationNetwork)
        return self.model.network

    @property
    def in_channels(self) -> int:
        """Channels of the images."""
        return self.network.in_channels

    @cached_property
    def any_size(self) -> bool:
        """Whether any image will do whose sizes are multiples of the divisor.

        Otherwise images must have the window's size.
        """
        return takes_any_size(self.network)

    @cached_property
    def window(self) -> tuple[int, ...]:
        """The window to slide: the training patch, enlarged where it does not fit."""
        patch = self.model.plan.patch_size
        return self.network.core.input_size(patch) if self.any_size else patch

    @cached_property
    def module(self) -> nn.Module:
        """What is exported: folded, on the CPU, in eval mode."""
        folded = fold(self.network).cpu().float()
        part = CoreLogits(folded.core) if self.any_size else _Whole(folded)
        return part.eval()

    @cached_property
    def sizes(self) -> list[tuple[int, ...]]:
        """Spatial sizes that it is checked at; the first is that of the example."""
        if not self.any_size:
            return [self.window]
        small = tuple(min(EXAMPLE, n) for n in self.window)
        core = self.network.core
        first = core.input_size(tuple(max(n, 2 * d) for n, d in zip(
            small, self.network.divisor, strict=True)))  # fmt: skip
        second = core.input_size(tuple(n + d for n, d in zip(
            first, self.network.divisor, strict=True)))  # fmt: skip
        return [first, second]

    def image(self, size: tuple[int, ...], *, count: int = 1) -> Tensor:
        """A synthetic image in the range of normalised intensities."""
        ranges = [channel.usual_range for channel in self.model.plan.channels]
        return golden_image(ranges, size, count=count)

    def logits(self, image: Tensor) -> Tensor:
        """What the network as trained says, in float32 by torch."""
        return golden_logits(self.network, image)

    def verify(self, run: Callable[[Tensor], Tensor], *, name: str) -> float:
        """Compares what was read back with the network as trained.

        Two images at once, and another size where sizes are open.

        Args:
            run: What was exported, read back.
            name: For the error.

        Returns:
            The largest difference, as a share of the range of the logits.

        Raises:
            ModelError: It does not compute the same.
        """
        worst = 0.0
        for size in self.sizes:
            image = self.image(size, count=2)
            expected = self.logits(image)
            found = run(image)
            if found.shape != expected.shape:
                raise ModelError(
                    f"{name}: gives logits of shape {tuple(found.shape)} where the "
                    f"network gives {tuple(expected.shape)}; not exported"
                )
            spread = float(expected.max() - expected.min()) or 1.0
            worst = max(worst, float((found - expected).abs().max()) / spread)
        if not worst <= TOLERANCES["float32"].difference:
            raise ModelError(
                f"{name}: read back, its logits differ from the network's by "
                f"{worst:.2%} of their range; not exported"
            )
        return worst


class _Whole(nn.Module):
    """A network with its padding, and nothing that a caller could choose."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.network(image)
        return logits


def trace(portable: Portable) -> "torch.jit.ScriptModule":
    """The network as TorchScript, recorded on one pass."""
    import warnings

    image = portable.image(portable.sizes[0])
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # about the recorder, not about the network
        traced: torch.jit.ScriptModule = torch.jit.trace(  # type: ignore[no-untyped-call]
            portable.module, image, check_trace=False
        )
    return traced
