"""From settings to a loss that can be called."""

from functools import singledispatch

from torch import nn

from medseg.errors import SettingsError
from medseg.losses import settings as options
from medseg.losses.boundary import BoundaryLoss
from medseg.losses.cldice import ClDiceLoss
from medseg.losses.generalized_dice import GeneralizedDiceLoss
from medseg.losses.modules import Channels, FusedLoss, SumOfLosses
from medseg.losses.overlap import OverlapLoss
from medseg.losses.pointwise import (
    BinaryCrossEntropyTerm,
    BinaryFocalTerm,
    ChannelPart,
    CrossEntropyTerm,
    FocalTerm,
    VoxelPart,
)
from medseg.losses.region_sums import RegionLoss, RegionPart
from medseg.losses.separation import SeparationCELoss
from medseg.losses.settings import LossSettings
from medseg.losses.top_k import TopKCrossEntropyLoss
from medseg.losses.tversky import TverskyLoss


def build_loss(
    settings: LossSettings,
    *,
    num_classes: int,
    regions: tuple[tuple[int, ...], ...] = (),
) -> nn.Module:
    """A loss called with logits (N, L, *spatial) and class indices (N, *spatial).

    Args:
        settings: Which loss, and its options.
        num_classes: Classes with the background.
        regions: Overlapping regions, each the classes that it is the union of; the
            logits then have one channel per region, else one per class.

    Raises:
        SettingsError: The number of class weights is not that of the channels, a
            region names a class that is not there, there is nothing but background,
            or the loss cannot do regions.
    """
    channels = Channels(num_classes, regions)
    weights = getattr(settings, "class_weights", None)
    if weights is not None and len(weights) != channels.num_channels:
        raise SettingsError(
            f"class_weights holds {len(weights)} numbers, expected "
            f"{channels.num_channels}: one per "
            + ("region" if regions else "class, background first")
        )
    return _build(settings, channels)


@singledispatch
def _build(settings: object, channels: Channels) -> nn.Module:
    raise SettingsError(f"{type(settings).__name__}: no such loss")


@_build.register
def _(settings: options.CESettings, channels: Channels) -> nn.Module:
    return _voxel_loss(channels, weights=settings.class_weights)


@_build.register
def _(settings: options.FocalSettings, channels: Channels) -> nn.Module:
    return _focal_loss(
        channels,
        gamma=settings.gamma,
        sigmoid=settings.activation == "sigmoid",
        weights=settings.class_weights,
    )


@_build.register
def _(settings: options.TopKCESettings, channels: Channels) -> nn.Module:
    if channels.regions:
        raise SettingsError(
            "topk_ce compares classes that exclude each other, and the label scheme "
            "names overlapping regions; use ce or focal"
        )
    return TopKCrossEntropyLoss(
        num_classes=channels.num_classes,
        share=settings.share,
        class_weights=settings.class_weights,
    )


@_build.register
def _(settings: options.DiceSettings, channels: Channels) -> nn.Module:
    return FusedLoss(channels, region=_overlap(settings, channels))


@_build.register
def _(settings: options.JaccardSettings, channels: Channels) -> nn.Module:
    return FusedLoss(channels, region=_overlap(settings, channels, jaccard=True))


@_build.register
def _(settings: options.GeneralizedDiceSettings, channels: Channels) -> nn.Module:
    loss = GeneralizedDiceLoss(
        volume_weight=settings.volume_weight,
        first_class=channels.first_class(settings.include_background),
        batch=settings.batch,
        smooth_nr=settings.smooth_nr,
        smooth_dr=settings.smooth_dr,
    )
    return FusedLoss(channels, region=RegionPart(loss))


@_build.register
def _(settings: options.TverskyOptions, channels: Channels) -> nn.Module:
    loss = TverskyLoss(
        alpha=settings.alpha,
        beta=settings.beta,
        exponent=getattr(settings, "exponent", 1.0),
        first_class=channels.first_class(settings.include_background),
        batch=settings.batch,
        skip_empty=settings.empty == "skip",
        smooth_nr=settings.smooth_nr,
        smooth_dr=settings.smooth_dr,
    )
    return FusedLoss(channels, region=RegionPart(loss))


@_build.register
def _(settings: options.DiceCESettings, channels: Channels) -> nn.Module:
    return _voxel_loss(
        channels,
        weights=settings.class_weights,
        weight=settings.ce_weight,
        region=_overlap(settings, channels, weight=settings.dice_weight),
    )


@_build.register
def _(settings: options.DiceFocalSettings, channels: Channels) -> nn.Module:
    return _focal_loss(
        channels,
        gamma=settings.gamma,
        sigmoid=settings.activation == "sigmoid",
        weights=settings.class_weights,
        weight=settings.focal_weight,
        region=_overlap(settings, channels, weight=settings.dice_weight),
    )


@_build.register
def _(settings: options.BoundarySettings, channels: Channels) -> nn.Module:
    boundary = BoundaryLoss(
        num_channels=channels.num_channels,
        regions=channels.regions,
        first_class=channels.first_class(settings.include_background),
    )
    dice = FusedLoss(channels, region=_overlap(settings, channels))
    return SumOfLosses(
        {"dice": dice, "boundary": boundary},
        {"dice": settings.dice_weight, "boundary": settings.boundary_weight},
    )


@_build.register
def _(settings: options.ClDiceSettings, channels: Channels) -> nn.Module:
    cldice = ClDiceLoss(
        num_channels=channels.num_channels,
        iterations=settings.iterations,
        regions=channels.regions,
        first_class=channels.first_class(settings.include_background),
    )
    dice = FusedLoss(channels, region=_overlap(settings, channels))
    share = settings.cldice_share
    return SumOfLosses(
        {"dice": dice, "cldice": cldice}, {"dice": 1 - share, "cldice": share}
    )


@_build.register
def _(settings: options.SeparationSettings, channels: Channels) -> nn.Module:
    if channels.regions:
        raise SettingsError(
            "separation weighs cells of one class, and the label scheme names "
            "overlapping regions; use ce"
        )
    if settings.cells >= channels.num_classes:
        raise SettingsError(
            f"training.loss.cells is class {settings.cells}, expected 0 to "
            f"{channels.num_classes - 1}; with objects these are their levels"
        )
    separation = SeparationCELoss(
        num_classes=channels.num_classes,
        cells=settings.cells,
        peak=settings.peak,
        sigma=settings.sigma,
        class_weights=settings.class_weights,
    )
    dice = FusedLoss(channels, region=_overlap(settings, channels))
    return SumOfLosses(
        {"dice": dice, "separation": separation},
        {"dice": settings.dice_weight, "separation": settings.ce_weight},
    )


def _voxel_loss(
    channels: Channels,
    *,
    weights: tuple[float, ...] | None,
    weight: float = 1.0,
    region: RegionPart | None = None,
) -> nn.Module:
    """Cross-entropy, softmax or binary, with or without a region part."""
    if channels.regions:
        channel = ChannelPart(BinaryCrossEntropyTerm(), weight, weights)
        return FusedLoss(channels, region=region, channel=channel)
    voxel = VoxelPart(CrossEntropyTerm(), weight, weights)
    return FusedLoss(channels, region=region, voxel=voxel)


def _focal_loss(
    channels: Channels,
    *,
    gamma: float,
    sigmoid: bool,
    weights: tuple[float, ...] | None,
    weight: float = 1.0,
    region: RegionPart | None = None,
) -> nn.Module:
    """Focal loss, softmax or sigmoid, with or without a region part."""
    if channels.regions or sigmoid:
        channel = ChannelPart(BinaryFocalTerm(gamma), weight, weights)
        return FusedLoss(channels, region=region, channel=channel)
    voxel = VoxelPart(FocalTerm(gamma), weight, weights, weighted_mean=False)
    return FusedLoss(channels, region=region, voxel=voxel)


def _overlap(
    settings: options.OverlapOptions,
    channels: Channels,
    *,
    weight: float = 1.0,
    jaccard: bool = False,
) -> RegionPart:
    loss: RegionLoss = OverlapLoss(
        first_class=channels.first_class(settings.include_background),
        batch=settings.batch,
        skip_empty=settings.empty == "skip",
        jaccard=jaccard or getattr(settings, "jaccard", False),
        smooth_nr=settings.smooth_nr,
        smooth_dr=settings.smooth_dr,
        weights=settings.class_weights,
    )
    return RegionPart(loss, weight, settings.squared)
