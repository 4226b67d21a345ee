"""medseg's parts for a MONAI script, with MONAI's own names and signatures.

Losses computed in two passes, sliding windows in bounded memory, patches of a prepared
store, a reader that knows DICOM. What a part cannot do better it hands to MONAI, so
that results are MONAI's in every case; docs/monai-parts.md says which is which.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medseg.monai.inferers import (
        SlidingWindowInferer,
        sliding_window_inference,
    )
    from medseg.monai.label_maps import sliding_window_labels
    from medseg.monai.losses import (
        DiceCELoss,
        DiceFocalLoss,
        DiceLoss,
        FocalLoss,
        GeneralizedDiceLoss,
        TverskyLoss,
    )
    from medseg.monai.patches import EpochSampler, PatchDataset
    from medseg.monai.reader import MedsegReader

_HOMES = {
    "DiceLoss": "losses",
    "DiceCELoss": "losses",
    "DiceFocalLoss": "losses",
    "FocalLoss": "losses",
    "GeneralizedDiceLoss": "losses",
    "TverskyLoss": "losses",
    "SlidingWindowInferer": "inferers",
    "sliding_window_inference": "inferers",
    "sliding_window_labels": "label_maps",
    "EpochSampler": "patches",
    "PatchDataset": "patches",
    "MedsegReader": "reader",
}

__all__ = [
    "DiceCELoss",
    "DiceFocalLoss",
    "DiceLoss",
    "EpochSampler",
    "FocalLoss",
    "GeneralizedDiceLoss",
    "MedsegReader",
    "PatchDataset",
    "SlidingWindowInferer",
    "TverskyLoss",
    "sliding_window_inference",
    "sliding_window_labels",
]


def __getattr__(name: str) -> Any:
    """Imports MONAI and torch with the first name that is used."""
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """The names on offer."""
    return sorted(__all__)
