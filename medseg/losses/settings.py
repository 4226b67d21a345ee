"""Which loss to train with, and its options: one class per loss, chosen by `name`.

Every loss knows classes that exclude each other (softmax) and, where the label scheme
names regions, overlapping regions (a sigmoid each). Voxels to ignore never count.
"""

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from medseg.plugins import FORM, PluginSettings, tagger
from medseg.settings import Settings

ClassWeights = tuple[Annotated[float, Field(ge=0)], ...]
"""One weight per class, background first; or one per region."""


class _Weighted(Settings):
    """Options of losses that can weigh classes."""

    class_weights: ClassWeights | None = None
    """One number per class, background first, or per region: multiplies the loss of
    a class in every term. None weighs all alike."""


class _RegionOptions(Settings):
    """Options of losses that compare whole regions."""

    include_background: bool = False
    """Count the background as a class like the others; regions have none."""
    batch: bool = False
    """Sum over the batch before dividing, so that a structure absent from one patch
    is judged together with the patches that hold it; else each sample by itself."""
    smooth_nr: float = Field(default=1e-5, ge=0)
    """Added to the numerator."""
    smooth_dr: float = Field(default=1e-5, ge=0)
    """Added to the denominator."""


class _EmptyOption(Settings):
    """What becomes of a class without a voxel in the reference."""

    empty: Literal["score", "skip"] = "score"
    """``score`` keeps the formula, where the smoothing decides: the loss is nearly 1
    unless nearly nothing is predicted (MONAI's way); ``skip`` leaves it out of the
    mean."""


class OverlapOptions(_RegionOptions, _EmptyOption, _Weighted):
    """Options of soft Dice and soft Jaccard."""

    squared: bool = False
    """Square the probabilities in the denominator (V-Net)."""


class _DiceOptions(OverlapOptions):
    """Options of the Dice family."""

    jaccard: bool = False
    """Soft Jaccard (intersection over union) in place of soft Dice."""


class CESettings(_Weighted):
    """Cross-entropy; binary cross-entropy of each region where regions overlap."""

    name: Literal["ce"] = "ce"
    """Which loss."""


class TopKCESettings(_Weighted):
    """Cross-entropy of the voxels where it is largest; not for overlapping regions."""

    name: Literal["topk_ce"] = "topk_ce"
    """Which loss."""
    share: float = Field(default=0.1, gt=0, le=1)
    """Share of the batch's voxels that count."""


class FocalSettings(_Weighted):
    """Focal loss: cross-entropy in which well-classified voxels are discounted."""

    name: Literal["focal"] = "focal"
    """Which loss."""
    gamma: float = Field(default=2.0, ge=0)
    """How strongly well-classified voxels are discounted."""
    activation: Literal["softmax", "sigmoid"] = "softmax"
    """``softmax``: of each voxel's true class; ``sigmoid``: of each class against the
    rest, as MONAI's default. Overlapping regions always use ``sigmoid``."""


class DiceSettings(_DiceOptions):
    """Soft Dice alone."""

    name: Literal["dice"] = "dice"
    """Which loss."""


class JaccardSettings(OverlapOptions):
    """Soft Jaccard alone."""

    name: Literal["jaccard"] = "jaccard"
    """Which loss."""


class GeneralizedDiceSettings(_RegionOptions):
    """Generalised Dice: one ratio for all classes, small structures weighted up."""

    name: Literal["generalized_dice"] = "generalized_dice"
    """Which loss."""
    include_background: bool = True
    """The weights are meant to balance the background too."""
    volume_weight: Literal["square", "simple", "uniform"] = "square"
    """A class weighs 1/volume², 1/volume, or 1."""


class TverskyOptions(_RegionOptions, _EmptyOption):
    """Options of the Tversky losses."""

    alpha: float = Field(default=0.3, ge=0)
    """Price of a false positive."""
    beta: float = Field(default=0.7, ge=0)
    """Price of a miss."""


class TverskySettings(TverskyOptions):
    """Tversky: false positives and misses at different prices."""

    name: Literal["tversky"] = "tversky"
    """Which loss."""


class FocalTverskySettings(TverskyOptions):
    """Tversky to a power below 1, so that structures nearly right still count."""

    name: Literal["focal_tversky"] = "focal_tversky"
    """Which loss."""
    exponent: float = Field(default=0.75, gt=0)
    """Power that the loss of each class is raised to (1/γ with γ = 4/3)."""


class DiceCESettings(_DiceOptions):
    """Soft Dice plus cross-entropy."""

    name: Literal["dice_ce"] = "dice_ce"
    """Which loss."""
    dice_weight: float = Field(default=1.0, ge=0)
    """Factor of the Dice term."""
    ce_weight: float = Field(default=1.0, ge=0)
    """Factor of the cross-entropy."""


class DiceFocalSettings(_DiceOptions):
    """Soft Dice plus focal loss."""

    name: Literal["dice_focal"] = "dice_focal"
    """Which loss."""
    gamma: float = Field(default=2.0, ge=0)
    """How strongly well-classified voxels are discounted."""
    activation: Literal["softmax", "sigmoid"] = "softmax"
    """What the focal term sees, as in `FocalSettings`; ``sigmoid`` is MONAI's."""
    dice_weight: float = Field(default=1.0, ge=0)
    """Factor of the Dice term."""
    focal_weight: float = Field(default=1.0, ge=0)
    """Factor of the focal term."""


class BoundarySettings(_DiceOptions):
    """Soft Dice plus boundary loss, in which far errors cost more than near ones."""

    name: Literal["boundary"] = "boundary"
    """Which loss."""
    dice_weight: float = Field(default=1.0, ge=0)
    """Factor of the Dice term."""
    boundary_weight: float = Field(default=0.01, ge=0)
    """Factor of the boundary term, which is in voxels."""


class ClDiceSettings(_DiceOptions):
    """Soft Dice plus clDice, for tubular structures such as vessels."""

    name: Literal["cldice"] = "cldice"
    """Which loss."""
    cldice_share: float = Field(default=0.5, ge=0, le=1)
    """Share of clDice in the sum; Dice has the rest."""
    iterations: int = Field(default=3, ge=0)
    """Radius of the thickest tube in voxels."""


class SeparationSettings(_DiceOptions):
    """Cross-entropy weighted up between cells that nearly touch (U-Net), plus Dice."""

    name: Literal["separation"] = "separation"
    """Which loss."""
    cells: int = Field(default=0, ge=0)
    """Class whose connected parts are the cells: 0 where the structure is the
    membrane between them."""
    peak: float = Field(default=10.0, ge=0)
    """Weight added where two cells touch, beside the class's own weight of 1."""
    sigma: float = Field(default=5.0, gt=0)
    """How far from touching the weight falls off, in voxels."""
    dice_weight: float = Field(default=1.0, ge=0)
    """Factor of the Dice term."""
    ce_weight: float = Field(default=1.0, ge=0)
    """Factor of the weighted cross-entropy."""


class PluginLossSettings(PluginSettings):
    """A loss of MONAI's, torch's or the user's own, by ``package.module:Name``.

    What it is called with follows from its signature; see docs/plugins.md.
    """


_NAMES = (
    "ce",
    "topk_ce",
    "focal",
    "dice",
    "jaccard",
    "generalized_dice",
    "tversky",
    "focal_tversky",
    "dice_ce",
    "dice_focal",
    "boundary",
    "cldice",
    "separation",
)

LossSettings = Annotated[
    Annotated[CESettings, Tag("ce")]
    | Annotated[TopKCESettings, Tag("topk_ce")]
    | Annotated[FocalSettings, Tag("focal")]
    | Annotated[DiceSettings, Tag("dice")]
    | Annotated[JaccardSettings, Tag("jaccard")]
    | Annotated[GeneralizedDiceSettings, Tag("generalized_dice")]
    | Annotated[TverskySettings, Tag("tversky")]
    | Annotated[FocalTverskySettings, Tag("focal_tversky")]
    | Annotated[DiceCESettings, Tag("dice_ce")]
    | Annotated[DiceFocalSettings, Tag("dice_focal")]
    | Annotated[BoundarySettings, Tag("boundary")]
    | Annotated[ClDiceSettings, Tag("cldice")]
    | Annotated[SeparationSettings, Tag("separation")]
    | Annotated[PluginLossSettings, Tag(FORM)],
    Discriminator(tagger(*_NAMES)),
]
"""Settings of any loss; the key `name` says which."""
