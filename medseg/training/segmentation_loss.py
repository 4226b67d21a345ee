"""The loss that a plan is trained with."""

from torch import nn

from medseg.losses.build import build_loss
from medseg.losses.deep_supervision import DeepSupervisionLoss
from medseg.losses.partial_labels import PartialLabelLoss
from medseg.losses.presence import SegmentationAndPresence
from medseg.plan import Plan
from medseg.training.settings import TrainingSettings


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
