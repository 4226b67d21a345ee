"""Losses as modules: logits and class indices in, a scalar out."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from medseg.errors import SettingsError
from medseg.losses.pointwise import ChannelPart, VoxelPart
from medseg.losses.region_sums import RegionPart
from medseg.losses.sigmoid import SigmoidParts, sigmoid_loss
from medseg.losses.softmax import SoftmaxParts, softmax_loss
from medseg.losses.targets import check_shapes


@dataclass(frozen=True)
class Channels:
    """What the channels of the logits stand for."""

    num_classes: int
    """Classes that the label map may hold, with the background."""
    regions: tuple[tuple[int, ...], ...] = ()
    """Classes of each overlapping region; empty for one channel per class."""

    def __post_init__(self) -> None:
        """Refuses what cannot be.

        Raises:
            SettingsError: There is no structure, or a region of unknown classes.
        """
        if self.num_classes < 2:
            raise SettingsError(
                f"num_classes is {self.num_classes}, expected the background and at "
                "least one structure"
            )
        for classes in self.regions:
            if not classes or not set(classes) <= set(range(self.num_classes)):
                raise SettingsError(
                    f"region {classes} is not a set of classes from 0 to "
                    f"{self.num_classes - 1}"
                )

    @property
    def num_channels(self) -> int:
        """Channels of the logits."""
        return len(self.regions) or self.num_classes

    def first_class(self, include_background: bool) -> int:  # noqa: FBT001
        """The first channel that a region loss counts."""
        return 0 if self.regions or include_background else 1


class FusedLoss(nn.Module):
    """A loss computed in two passes over the voxels, its gradient in closed form."""

    def __init__(
        self,
        channels: Channels,
        *,
        region: RegionPart | None = None,
        voxel: VoxelPart | None = None,
        channel: ChannelPart | None = None,
    ) -> None:
        """Takes what the channels mean and what is summed up.

        Args:
            channels: What the channels stand for.
            region: Looks at whole regions.
            voxel: Looks at each voxel's true class; not for overlapping regions.
            channel: Looks at each voxel and channel through a sigmoid.
        """
        super().__init__()
        self.channels = channels
        self.parts: SoftmaxParts | SigmoidParts
        if channels.regions:
            self.parts = SigmoidParts(
                channels.regions, channels.num_classes, region, channel
            )
        else:
            self.parts = SoftmaxParts(region, voxel, channel)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss, a scalar.

        Args:
            logits: Shape (N, L, *spatial), any floating type.
            target: Class indices of shape (N, *spatial), any integer type; 255 is
                left out.

        Raises:
            LabelError: Shapes do not match, or the target holds other indices.
        """
        check_shapes(logits, target, num_channels=self.channels.num_channels)
        if isinstance(self.parts, SigmoidParts):
            return sigmoid_loss(logits, target, self.parts)
        return softmax_loss(logits, target, self.parts)


class SumOfLosses(nn.Module):
    """Weighted sum of losses; one with weight 0 is not computed."""

    def __init__(self, losses: dict[str, nn.Module], weights: dict[str, float]) -> None:
        """Takes the losses, and the weight of each under the same name."""
        super().__init__()
        self.losses = nn.ModuleDict(losses)
        self.weights = weights

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The sum for logits (N, L, *spatial) and class indices (N, *spatial)."""
        terms = [
            self.weights[name] * loss(logits, target)
            for name, loss in self.losses.items()
            if self.weights[name] > 0
        ]
        return torch.stack(terms).sum()
