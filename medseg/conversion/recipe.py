"""What a receiver must do around the network, in words, from the plan."""

from collections.abc import Sequence
from importlib.metadata import version

from medseg.conversion.portable import Portable
from medseg.plan import ChannelPlan, Plan
from medseg.preparation.normalization import HIGH, LIGHT, LOW


def readme(portable: Portable, *, files: dict[str, str], checked: str) -> str:
    """The page that lies beside an exported network.

    Args:
        portable: What was exported.
        files: What each file holds.
        checked: How the export was verified.
    """
    model, plan = portable.model, portable.model.plan
    dims = ", ".join("IJK"[: plan.spatial_dims])
    listed = "\n".join(f"- `{name}`: {what}" for name, what in files.items())
    steps = "\n".join(f"{n}. {text}" for n, text in enumerate(_steps(plan), start=1))
    table = "\n".join(
        f"| {index} | {name} | {value} |"
        for index, (name, value) in enumerate(
            zip(
                ("background", *plan.targets.structures),
                plan.targets.values,
                strict=True,
            )
        )
    )
    return f"""# {plan.name}: a network from medseg

A research model, not a medical device. Model {model.identity}
(weights SHA-256 {model.weights_sha256}), exported by medseg {version("medseg")}.

{listed}

{checked}
{_imported(portable)}
## Input and output

- `image`: float32, (N, {portable.in_channels}, {dims}); channels
  {", ".join(channel.name for channel in plan.channels)}.
  {_size_rule(portable)}
- `logits`: float32, (N, {plan.num_outputs}, {dims}), before any softmax or sigmoid.

## What to do before

The network knows scans only after these steps, in this order:

{steps}

## What to do after

{_after(plan)}{_mirrored(portable)}

| index | structure | value in files |
|---|---|---|
{table}
{_rules(portable)}"""


def _imported(portable: Portable) -> str:
    """What a receiver of an imported model must know."""
    exact, origin = portable.model.exact, portable.model.provenance
    if exact is None:
        return ""
    return (
        f"\nImported from {exact.origin(origin.dataset)} (licence: "
        f"{origin.licence or 'not stated'}).\n"
        f"`medseg predict` follows {exact.tool}'s own steps, which model.yaml holds "
        "under `exact`;\nthe steps below are medseg's nearest to them, and may give "
        "other labels at borders.\n"
    )


def _steps(plan: Plan) -> list[str]:
    steps = []
    if plan.reorient:
        steps.append(
            "Permute and flip the voxel axes so that they run closest to RAS+."
        )
    if plan.slice_axis != "k":
        steps.append(f"Move axis {plan.slice_axis} (across slices) to the end.")
    if plan.crop_nonzero:
        steps.append("Cut away the margin in which every channel is zero.")
    steps += [normalization_in_words(channel) for channel in plan.channels]
    steps.append(_spacing(plan.target_spacing))
    if plan.spatial_dims == 2:
        steps.append("Give the network slices (I, J), one by one, along the last axis.")
    return steps


def normalization_in_words(channel: ChannelPlan) -> str:
    """What is done to the intensities of a channel, as a sentence."""
    name = f"Channel {channel.name}: "
    over = "its non-zero voxels" if channel.nonzero_only else "all its voxels"
    zeros = "; leave zeros zero" if channel.nonzero_only else ""
    if channel.is_fixed:
        clip = f"clip to {channel.clip}, " if channel.clip else ""
        return f"{name}{clip}subtract {channel.mean:g}, divide by {channel.std:g}."
    if channel.normalization == "zscore":
        return f"{name}subtract the mean and divide by the deviation of {over}{zeros}."
    if channel.normalization == "minmax":
        return f"{name}scale so that its smallest intensity becomes 0, its largest 1."
    if channel.normalization == "percentile":
        return f"{name}scale so that the 1st and 99th percentile of {over} become 0 " \
            f"and 1{zeros}{_floor(channel)}."  # fmt: skip
    if channel.normalization == "stain":
        return (
            f"{name}scale so that the {LOW:g}st and {HIGH:g}th percentile of a picture "
            f"become 0 and 1; where its median, the mean of all channels, is above "
            f"{LIGHT:.2f}, take 1 minus that, else the square root of what is above 0"
            f"{_floor(channel)}."
        )
    return f"{name}leave intensities as they are."


def _floor(channel: ChannelPlan) -> str:
    """How a picture with little contrast is kept from being all noise."""
    if channel.least_range == 0:
        return ""
    counts = f"; a range below {channel.least_range:g} counts as that"
    if not channel.is_stain:
        return counts
    light = channel.least_range_of(light=True)
    return f"{counts} ({light:g} on a light ground), from the end of the ground on"


def _spacing(spacing: Sequence[float]) -> str:
    axes = ", ".join(
        f"{axis} {size:g} mm" if size > 0 else f"{axis} as it is"
        for axis, size in zip("ijk", spacing, strict=True)
    )
    return (
        f"Resample linearly to {axes}; the outer faces of the first voxels coincide, "
        "and the number of voxels is rounded."
    )


def _size_rule(portable: Portable) -> str:
    window = " x ".join(map(str, portable.window))
    if not portable.any_size:
        return f"Spatial sizes are fixed: {window}."
    divisor = " x ".join(map(str, portable.network.divisor))
    return (
        f"Spatial sizes are any multiples of {divisor}; fill up by repeating the last\n"
        f"  voxels and cut the logits back. Trained on windows of {window}."
    )


def _after(plan: Plan) -> str:
    if plan.instance_target != "none":
        return (
            "Classes are levels of single objects, from the rim inwards. Average the\n"
            "logits of windows, take the softmax: 1 minus the background is the\n"
            "foreground, the expected level over the number of levels the depth.\n"
            "Connected parts above the seed's depth are objects, grown over the\n"
            "foreground by watershed, deep voxels first; the thresholds are in\n"
            "model.yaml, under `decoding`."
        )
    decision = (
        "Take the class with the largest logit."
        if not plan.labels.regions
        else "Each output is a region with its own sigmoid ("
        + "; ".join(f"{n} = {' + '.join(m)}" for n, m in plan.labels.regions.items())
        + "). A class scores the sum of the logits of the regions that contain it, "
        "background 0; the largest wins."
    )
    return (
        "Larger scans: slide the window with an overlap of half a window, weight its\n"
        "logits by a Gaussian (deviation: an eighth of the window), and divide by the\n"
        "sum of the weights; smaller scans: pad with zeros on both sides. Interpolate\n"
        "the logits linearly onto the scan's own grid, then decide:\n" + decision
    )


def _mirrored(portable: Portable) -> str:
    if not portable.model.flips:
        return ""
    axes = portable.model.plan.mirror_axes
    every = range(portable.model.plan.spatial_dims) if axes is None else axes
    named = ", ".join("IJK"[axis] for axis in every)
    return (
        "\n\nThis model's scores are of logits averaged over flips along\n"
        f"{named} and all combinations of these; do so to reach them."
    )


def _rules(portable: Portable) -> str:
    rules = portable.model.postprocessing
    if not rules:
        return ""
    lines = "\n".join(f"- {rule.describe()} ({rule.reason})" for rule in rules)
    return f"\nThen `medseg predict` cleans the label map; so may you:\n\n{lines}\n"
