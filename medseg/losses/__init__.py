"""Losses: logits and a label map in, a scalar out."""

from typing import TYPE_CHECKING, Any

from medseg.losses.settings import LossSettings

if TYPE_CHECKING:
    from medseg.losses.build import build_loss
    from medseg.losses.deep_supervision import DeepSupervisionLoss

__all__ = ["DeepSupervisionLoss", "LossSettings", "build_loss"]


def __getattr__(name: str) -> Any:
    """Imports torch only where a loss is built, not where settings are read."""
    if name == "build_loss":
        from medseg.losses.build import build_loss

        return build_loss
    if name == "DeepSupervisionLoss":
        from medseg.losses.deep_supervision import DeepSupervisionLoss

        return DeepSupervisionLoss
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
