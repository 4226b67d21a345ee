"""From settings to a loss that can be called."""

from functools import singledispatch

from torch import nn

from medseg.errors import SettingsError
from medseg.losses import settings as options
from medseg.losses.deep_supervision import SumOfLosses
from medseg.losses.fused import Channels, Engine, FusedLoss
from medseg.losses.plugin_loss import build_plugin_loss
from medseg.losses.regions import GeneralizedDiceLoss, TverskyLoss
from medseg.losses.settings import LossSettings
from medseg.losses.shapes import BoundaryLoss, ClDiceLoss
from medseg.losses.terms import (
    ChannelTerm,
    RegionTerm,
    SeparationCELoss,
    Terms,
    TopKCrossEntropyLoss,
    VoxelTerm,
)


def build_loss(
    settings: LossSettings,
    *,
    num_classes: int,
    regions: tuple[tuple[int, ...], ...] = (),
    engine: Engine = "auto",
) -> nn.Module:
    """A loss called with logits (N, L, *spatial) and class indices (N, *spatial).

    Args:
        settings: Which loss, and its options.
        num_classes: Classes with the background.
        regions: Overlapping regions, each the classes that it is the union of; the
            logits then have one channel per region, else one per class.
        engine: Who does the passes over the voxels, where the loss needs no more.

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
    loss = _build(settings, channels)
    for part in loss.modules():
        if isinstance(part, FusedLoss):
            part.engine = engine
    return loss


@singledispatch
def _build(settings: object, channels: Channels) -> nn.Module:
    raise SettingsError(f"{type(settings).__name__}: no such loss")


@_build.register
def _(settings: options.PluginLossSettings, channels: Channels) -> nn.Module:
    return build_plugin_loss(
        settings, num_classes=channels.num_classes, regions=channels.regions
    )


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
    return _fused(channels, region=_dice(settings, channels))


@_build.register
def _(settings: options.JaccardSettings, channels: Channels) -> nn.Module:
    return _fused(channels, region=_dice(settings, channels, jaccard=True))


@_build.register
def _(settings: options.GeneralizedDiceSettings, channels: Channels) -> nn.Module:
    loss = GeneralizedDiceLoss(
        volume_weight=settings.volume_weight,
        first_class=channels.first_class(settings.include_background),
        batch=settings.batch,
        smooth_nr=settings.smooth_nr,
        smooth_dr=settings.smooth_dr,
    )
    return _fused(channels, region=RegionTerm(loss))


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
    return _fused(channels, region=RegionTerm(loss))


@_build.register
def _(settings: options.DiceCESettings, channels: Channels) -> nn.Module:
    return _voxel_loss(
        channels,
        weights=settings.class_weights,
        weight=settings.ce_weight,
        region=_dice(settings, channels, weight=settings.dice_weight),
    )


@_build.register
def _(settings: options.DiceFocalSettings, channels: Channels) -> nn.Module:
    return _focal_loss(
        channels,
        gamma=settings.gamma,
        sigmoid=settings.activation == "sigmoid",
        weights=settings.class_weights,
        weight=settings.focal_weight,
        region=_dice(settings, channels, weight=settings.dice_weight),
    )


@_build.register
def _(settings: options.BoundarySettings, channels: Channels) -> nn.Module:
    boundary = BoundaryLoss(
        num_channels=channels.num_channels,
        regions=channels.regions,
        first_class=channels.first_class(settings.include_background),
    )
    dice = _fused(channels, region=_dice(settings, channels))
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
    dice = _fused(channels, region=_dice(settings, channels))
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
    dice = _fused(channels, region=_dice(settings, channels))
    return SumOfLosses(
        {"dice": dice, "separation": separation},
        {"dice": settings.dice_weight, "separation": settings.ce_weight},
    )


def _voxel_loss(
    channels: Channels,
    *,
    weights: tuple[float, ...] | None,
    weight: float = 1.0,
    region: RegionTerm | None = None,
) -> nn.Module:
    """Cross-entropy, softmax or binary, with or without a region term."""
    if channels.regions:
        channel = ChannelTerm(weight=weight, class_weights=weights)
        return _fused(channels, region=region, channel=channel)
    voxel = VoxelTerm(weight=weight, class_weights=weights)
    return _fused(channels, region=region, voxel=voxel)


def _focal_loss(
    channels: Channels,
    *,
    gamma: float,
    sigmoid: bool,
    weights: tuple[float, ...] | None,
    weight: float = 1.0,
    region: RegionTerm | None = None,
) -> nn.Module:
    """Focal loss, softmax or sigmoid, with or without a region term."""
    if channels.regions or sigmoid:
        channel = ChannelTerm(gamma, weight, weights)
        return _fused(channels, region=region, channel=channel)
    voxel = VoxelTerm(gamma, weight, weights, weighted_mean=False)
    return _fused(channels, region=region, voxel=voxel)


def _dice(
    settings: options.OverlapOptions,
    channels: Channels,
    *,
    weight: float = 1.0,
    jaccard: bool = False,
) -> RegionTerm:
    """Soft Dice or Jaccard: Tversky's index with both its sums halved."""
    price = 1.0 if jaccard or getattr(settings, "jaccard", False) else 0.5
    loss = TverskyLoss(
        alpha=price,
        beta=price,
        first_class=channels.first_class(settings.include_background),
        batch=settings.batch,
        skip_empty=settings.empty == "skip",
        smooth_nr=settings.smooth_nr / 2,
        smooth_dr=settings.smooth_dr / 2,
        class_weights=settings.class_weights,
    )
    return RegionTerm(loss, weight, settings.squared)


def _fused(
    channels: Channels,
    *,
    region: RegionTerm | None = None,
    voxel: VoxelTerm | None = None,
    channel: ChannelTerm | None = None,
) -> FusedLoss:
    terms = Terms(bool(channels.regions), region, voxel, channel)
    return FusedLoss(channels, terms)
