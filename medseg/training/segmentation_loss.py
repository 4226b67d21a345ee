"""The loss that a plan is trained with."""

from typing import Any

from torch import Tensor, nn

from medseg.losses.build import build_loss
from medseg.losses.deep_supervision import DeepSupervisionLoss
from medseg.losses.partial_labels import PartialLabelLoss
from medseg.losses.presence import SegmentationAndPresence
from medseg.plan import Plan
from medseg.training.settings import TrainingSettings


class LossOnHost(nn.Module):
    """A loss computed on the CPU, for devices that lack what it needs."""

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, *inputs: Any) -> Tensor:
        """The loss as a scalar on the CPU; gradients go back to the device.

        Args:
            inputs: What the loss takes: tensors, or sequences of them.
        """
        value: Tensor = self.loss(*map(_on_host, inputs))
        return value


def _on_host(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.cpu()
    if isinstance(value, list | tuple):
        return type(value)(map(_on_host, value))
    return value


def segmentation_loss(plan: Plan, settings: TrainingSettings) -> nn.Module:
    """The loss of a plan: at all outputs of the network, and of presence if asked."""
    scheme = plan.targets
    regions = tuple(
        tuple(scheme.structures.index(name) + 1 for name in names)
        for names in scheme.regions.values()
    )
    loss = build_loss(settings.loss, num_classes=scheme.num_classes, regions=regions)
    segmentation = PartialLabelLoss(DeepSupervisionLoss(loss), regions=regions)
    if not getattr(plan.network, "presence_head", False):
        return segmentation
    return SegmentationAndPresence(
        segmentation, num_classes=scheme.num_classes, regions=regions
    )
