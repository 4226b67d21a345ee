"""Which loss to train with, and its options: one class per loss, chosen by `name`."""

from typing import Annotated, Literal

from pydantic import Field

from medseg.settings import Settings

ClassWeights = tuple[Annotated[float, Field(ge=0)], ...]
"""One weight per class, background first; or one per region."""


class RegionOptions(Settings):
    """What every loss that compares whole regions has in common."""

    include_background: bool = False
    """Count the background as a class like the others. Regions have none."""
    batch: bool = False
    """Sum over the batch before dividing, so that a structure absent from one patch
    is judged together with the patches that hold it; else each sample by itself."""
    empty: Literal["score", "skip"] = "score"
    """A class without a voxel in the reference: ``score`` keeps the formula, with the
    smoothing deciding (MONAI); ``skip`` leaves it out of the mean."""
    smooth_nr: float = Field(default=1e-5, ge=0)
    """Added to the numerator."""
    smooth_dr: float = Field(default=1e-5, ge=0)
    """Added to the denominator."""


class OverlapOptions(RegionOptions):
    """Options of the Dice and Jaccard family."""

    squared: bool = False
    """Square the probabilities in the denominator (V-Net)."""
    jaccard: bool = False
    """Soft Jaccard (intersection over union) in place of soft Dice."""


class DiceSettings(OverlapOptions):
    """Soft Dice alone."""

    name: Literal["dice"] = "dice"
    """Which loss."""
    class_weights: ClassWeights | None = None
    """Multiplies each class's loss before the mean."""


class DiceCESettings(OverlapOptions):
    """Soft Dice plus cross-entropy."""

    name: Literal["dice_ce"] = "dice_ce"
    """Which loss."""
    class_weights: ClassWeights | None = None
    """Weighs the classes in both terms."""
    dice_weight: float = Field(default=1.0, ge=0)
    """Factor of the Dice term."""
    ce_weight: float = Field(default=1.0, ge=0)
    """Factor of the cross-entropy."""


class DiceFocalSettings(OverlapOptions):
    """Soft Dice plus focal loss."""

    name: Literal["dice_focal"] = "dice_focal"
    """Which loss."""
    class_weights: ClassWeights | None = None
    """Weighs the classes in both terms."""
    gamma: float = Field(default=2.0, ge=0)
    """How strongly well-classified voxels are discounted."""
    dice_weight: float = Field(default=1.0, ge=0)
    """Factor of the Dice term."""
    focal_weight: float = Field(default=1.0, ge=0)
    """Factor of the focal term."""


LossSettings = Annotated[
    DiceSettings | DiceCESettings | DiceFocalSettings, Field(discriminator="name")
]
"""Settings of any loss; the key `name` says which."""
