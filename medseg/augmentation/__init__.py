"""Whole batches changed at random, on the device they lie on."""

from typing import TYPE_CHECKING, Any

from medseg.augmentation.settings import AugmentationSettings, suggest_augmentation

if TYPE_CHECKING:
    from medseg.augmentation.batch import augment_batch

__all__ = ["AugmentationSettings", "augment_batch", "suggest_augmentation"]


def __getattr__(name: str) -> Any:
    """`augment_batch` on first use, so that reading settings needs no torch."""
    if name == "augment_batch":
        from medseg.augmentation.batch import augment_batch

        return augment_batch
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
