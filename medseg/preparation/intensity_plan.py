"""How each channel is to be normalised, and why."""

from typing import Literal

from medseg.fingerprint import Fingerprint, IntensityFacts
from medseg.plan import ChannelPlan

MOSTLY_ZERO = 0.25
"""From this share of exact zeros on, the background was set to zero."""
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
        channel = _stretched(facts, "stain", facts.spreads and facts.spreads[1])
        return channel, (
            f"{facts.name}: pictures of single objects, so the ground of each becomes "
            f"dark and its cells bright, whatever the stain{_floor_reason(channel)}"
        )
    if pictures:
        channel = _stretched(facts, "percentile", facts.spreads and facts.spreads[0])
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


def _stretched(
    facts: IntensityFacts,
    normalization: Literal["percentile", "stain"],
    spread: float | None,
) -> ChannelPlan:
    return ChannelPlan(
        name=facts.name, normalization=normalization, least_range=spread or 0.0
    )


def _floor_reason(channel: ChannelPlan) -> str:
    if channel.least_range == 0:
        return ""
    return (
        f", but no range below {channel.least_range:.4g}, which 95 % of the pictures "
        "with structures exceed: the noise of an empty picture stays noise"
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
