"""Warnings with a suggested change, from what was sampled and how it went."""

import math
from collections.abc import Mapping, Sequence

from medseg.sampling.sampling_stats import SamplingStats
from medseg.sampling.settings import SamplingSettings

ENOUGH_PATCHES = 200
"""Fewer patches say nothing yet."""
STARVED_SHARE = 0.05
"""A structure in fewer patches than this is starved."""
UNSEEN_SHARE = 0.5
"""Warn when more than this share of a size bin's lesions was never shown."""
WITH_CROSS_ENTROPY = {"ce", "topk_ce", "focal", "dice_ce", "dice_focal", "separation"}
"""Losses that steer every voxel by itself from the first step."""
COLLAPSED, WAS_LEARNED = 0.05, 0.2
"""Dice below the first counts as none, above the second as learned."""


def absent_structures(sampling_stats: SamplingStats) -> tuple[str, ...]:
    """Structures that no training case shows."""
    table = sampling_stats.table()
    absent = table[(table["size_bin"] == "all") & (table["cases"] == 0)]
    return tuple(absent["structure"])


def absence_alarms(sampling_stats: SamplingStats) -> list[str]:
    """Structures that no training case shows: no way of sampling will help."""
    return [
        f"no training case shows {name}, so that it cannot be learnt: train on another "
        "fold or on more cases, or leave it out of the labels"
        for name in absent_structures(sampling_stats)
    ]


def starvation_alarms(
    sampling_stats: SamplingStats, settings: SamplingSettings
) -> list[str]:
    """Structures and lesions that training hardly sees, each with a change to make."""
    if sampling_stats.num_patches < ENOUGH_PATCHES:
        return []
    found = []
    table = sampling_stats.table()
    for row in table[table["size_bin"] == "all"].to_dict("records"):
        if row["cases"] and row["patches_share"] < STARVED_SHARE:
            found.append(
                f"{row['structure']} is in {row['patches_share']:.1%} of "
                f"{sampling_stats.num_patches} patches: {_suggest(settings)}"
            )
    for row in table[table["size_bin"] != "all"].to_dict("records"):
        unseen = row["lesions"] - row["lesions_shown"]
        if (
            _overdue(sampling_stats, row["lesions"])
            and unseen > UNSEEN_SHARE * row["lesions"]
        ):
            found.append(
                f"{unseen} of {row['lesions']} components of {row['structure']} with "
                f"{row['size_bin']} voxels were never seen in "
                f"{sampling_stats.num_patches} patches: "
                f"{_suggest_for_lesions(settings)}"
            )
    return found


def collapse_alarms(
    history: Sequence[Mapping[str, float]],
    sampling_stats: SamplingStats,
    settings: SamplingSettings,
    *,
    loss: str = "",
) -> list[str]:
    """Structures whose Dice fell to nothing, or never rose from it.

    Args:
        history: Dice by structure of each look at the validation cases, oldest first.
        sampling_stats: What was sampled.
        settings: How patches were chosen.
        loss: Name of the loss that is minimised.
    """
    if len(history) < 3:
        return []
    metrics, absent = sampling_stats.metrics(), absent_structures(sampling_stats)
    found = []
    for name in sampling_stats.structures:
        if name in absent:
            continue
        dice = [d for look in history if not math.isnan(d := look.get(name, math.nan))]
        if len(dice) < 3 or max(dice[-2:]) >= COLLAPSED:
            continue
        share = metrics[f"sampling/{name}/patches_share"]
        learned = max(dice) >= WAS_LEARNED
        what = f"fell from {max(dice):.2f} to" if learned else "has stayed at"
        change = (
            _suggest(settings)
            if share < 0.2
            else f"it is shown enough, so {_steadier(loss)}"
        )
        found.append(
            f"Dice of {name} {what} {dice[-1]:.2f}; it is in {share:.1%} of patches: "
            f"{change}"
        )
    return found


def _steadier(loss: str) -> str:
    """What helps a structure that is shown enough and not learned."""
    if loss in WITH_CROSS_ENTROPY:
        return "lower the learning rate, or train for longer"
    return (
        "lower the learning rate, or use a loss with cross-entropy (loss.name: dice_ce)"
    )


def _overdue(sampling_stats: SamplingStats, lesions: int) -> bool:
    """Whether there were patches enough to have shown each lesion ten times."""
    return sampling_stats.num_patches >= 10 * lesions


def _suggest(settings: SamplingSettings) -> str:
    if settings.strategy in ("uniform", "any_foreground", "foreground"):
        return "set sampling.strategy: class_balanced"
    if settings.foreground_share < 0.9:
        return f"raise sampling.foreground_share above {settings.foreground_share:g}"
    return "give training a larger patch_size or more cases that show it"


def _suggest_for_lesions(settings: SamplingSettings) -> str:
    if settings.strategy != "lesion_balanced":
        return "set sampling.strategy: lesion_balanced"
    return f"raise sampling.foreground_share above {settings.foreground_share:g}"
