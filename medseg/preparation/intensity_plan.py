"""How each channel is to be normalised, and why."""

from medseg.fingerprint import Fingerprint, IntensityFacts
from medseg.plan import ChannelPlan

MOSTLY_ZERO = 0.25
"""From this share of exact zeros on, the background was set to zero."""
AS_FAINT = 0.5
"""In a faint picture, objects may stand out half as far as in the faintest of
training: pictures of cells that were exposed too short are no empty ones."""
SMALLEST_STD = 1e-6
"""A deviation of zero, as of a constant channel, becomes this."""


def plan_channels(
    fingerprint: Fingerprint, *, cells: bool = False
) -> tuple[tuple[ChannelPlan, ...], str]:
    """One entry per channel, and the reasons in one text.

    Args:
        fingerprint: What was measured.
        cells: Labels number single objects; pictures of them are of microscopes.
    """
    decided = [
        _plan_channel(channel, pictures=fingerprint.pictures, cells=cells)
        for channel in fingerprint.channels
    ]
    same = {reason.partition(": ")[2] for _, reason in decided}
    reasons = [reason for _, reason in decided]
    if len(same) == 1 and len(decided) > 1:
        reasons = [f"all channels: {same.pop()}"]
    return tuple(channel for channel, _ in decided), "; ".join(reasons)


def _plan_channel(
    facts: IntensityFacts, *, pictures: bool, cells: bool
) -> tuple[ChannelPlan, str]:
    if facts.modality == "ct":
        return _plan_ct(facts)
    if pictures and cells:
        channel = _stained(facts)
        return channel, (
            f"{facts.name}: pictures of single objects, so the ground of each becomes "
            f"dark and its cells bright, whatever the stain{_floor_reason(channel)}"
        )
    if pictures:
        channel = _percentiles(facts)
        return channel, (
            f"{facts.name}: the range of a picture is arbitrary, so the 1st and 99th "
            f"percentile of each become 0 and 1{_floor_reason(channel)}"
        )
    nonzero = facts.zero_fraction >= MOSTLY_ZERO
    channel = ChannelPlan(name=facts.name, normalization="zscore", nonzero_only=nonzero)
    return channel, (
        f"{facts.name}: z-score of each scan ({facts.modality_reason}) over "
        f"{'its non-zero' if nonzero else 'all its'} voxels, since "
        f"{facts.zero_fraction:.0%} are exactly zero in the median case"
    )


def _stained(facts: IntensityFacts) -> ChannelPlan:
    """Each ground with its own limits; one that training does not show, the other's."""
    usual = facts.contrasts
    dark, light = usual.get("dark"), usual.get("light")
    dark, light = dark or light, light or dark
    if dark is None or light is None:
        return ChannelPlan(name=facts.name, normalization="stain")
    return ChannelPlan(
        name=facts.name,
        normalization="stain",
        least_range=dark.stain_range,
        least_range_light=light.stain_range,
        least_contrast=AS_FAINT * dark.contrast,
        least_contrast_light=AS_FAINT * light.contrast,
    )


def _percentiles(facts: IntensityFacts) -> ChannelPlan:
    usual = facts.contrasts.get("all")
    if usual is None:
        return ChannelPlan(name=facts.name, normalization="percentile")
    return ChannelPlan(
        name=facts.name,
        normalization="percentile",
        least_range=usual.percentile_range,
        least_contrast=AS_FAINT * usual.contrast,
    )


def _floor_reason(channel: ChannelPlan) -> str:
    if channel.least_range == 0:
        return ""
    ranges = f"{channel.least_range:.4g}"
    if channel.least_range_light not in (0, channel.least_range):
        ranges += f" ({channel.least_range_light:.4g} on a light ground)"
    return (
        f", but no range below {ranges}, which 95 % of the pictures with structures "
        "exceed: the noise of an empty picture stays noise"
    )


def _plan_ct(facts: IntensityFacts) -> tuple[ChannelPlan, str]:
    low, high = facts.percentile_00_5, facts.percentile_99_5
    channel = ChannelPlan(
        name=facts.name,
        normalization="ct",
        clip=(low, high),
        mean=facts.mean,
        std=max(facts.std, SMALLEST_STD),
    )
    return channel, (
        f"{facts.name}: CT, since {facts.modality_reason}; clipped to the 0.5th and "
        f"99.5th percentile inside the structures, {low:.4g} to {high:.4g} HU, and "
        "scaled by their mean and deviation"
    )
