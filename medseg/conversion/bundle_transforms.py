"""The plan's preparation and decision, in MONAI's transforms."""

from typing import Any

from medseg.bundle_recipe import BundleRecipe, BundleTransform
from medseg.inference.label_writer import region_membership
from medseg.plan import ChannelPlan, Plan
from medseg.preparation.normalization import HIGH, LIGHT, LOW, SMALLEST_RANGE
from medseg.preparation.preprocessing import axes_with_last

RIGHT_ANTERIOR_SUPERIOR = "RAS"


def preprocessing(plan: Plan) -> list[dict[str, Any]]:
    """From files to network input, in the order of `medseg`'s own preparation.

    Equal to it where nothing is resampled. Otherwise MONAI's grid has the same spacing
    and another phase: the first voxels' centres coincide, not their outer faces.
    """
    steps: list[dict[str, Any]] = [
        {"_target_": "LoadImaged", "keys": "image"},
        {"_target_": "EnsureChannelFirstd", "keys": "image"},
        {"_target_": "EnsureTyped", "keys": "image", "dtype": "float32"},
    ]
    if plan.reorient:
        order = axes_with_last("ijk".index(plan.slice_axis))
        axes = "".join(RIGHT_ANTERIOR_SUPERIOR[axis] for axis in order)
        steps.append({"_target_": "Orientationd", "keys": "image", "axcodes": axes})
    if plan.crop_nonzero:
        steps.append(
            {
                "_target_": "CropForegroundd",
                "keys": "image",
                "source_key": "image",
                "select_fn": "$lambda x: x != 0",
                "allow_smaller": True,
            }
        )
    steps.append(_normalization(plan.channels))
    if any(size > 0 for size in plan.target_spacing):
        steps.append(
            {
                "_target_": "Spacingd",
                "keys": "image",
                "pixdim": [size if size > 0 else -1 for size in plan.target_spacing],
                "mode": "bilinear",
                "padding_mode": "border",
            }
        )
    return steps


def postprocessing(plan: Plan) -> list[dict[str, Any]]:
    """From logits to label maps on each scan's own grid."""
    steps: list[dict[str, Any]] = [
        {
            "_target_": "Invertd",
            "keys": "pred",
            "transform": "@preprocessing",
            "orig_keys": "image",
            "nearest_interp": False,
            "to_tensor": True,
        }
    ]
    if plan.labels.regions:
        members = region_membership(plan.labels).tolist()
        function = f"$lambda x: torch.tensordot(torch.tensor({members}).to(x), x, 1)"
        steps.append({"_target_": "Lambdad", "keys": "pred", "func": function})
    steps.append({"_target_": "AsDiscreted", "keys": "pred", "argmax": True})
    values = plan.labels.values
    if values != tuple(range(len(values))):
        steps.append(
            {
                "_target_": "MapLabelValued",
                "keys": "pred",
                "orig_labels": list(range(len(values))),
                "target_labels": list(values),
            }
        )
    steps.append(
        {
            "_target_": "SaveImaged",
            "keys": "pred",
            "output_dir": "@output_dir",
            "output_postfix": "",
            "separate_folder": False,
            "output_dtype": "$np.uint8" if max(values) < 256 else "$np.int32",
            "resample": False,
        }
    )
    return steps


Steps = list[dict[str, Any]]


def steps_of_recipe(recipe: BundleRecipe) -> tuple[Steps, dict[str, Any], Steps]:
    """Preprocessing, inferer and postprocessing of an imported bundle, as they came."""
    before: Steps = [
        {"_target_": name, "keys": list(recipe.inputs)}
        for name in ("LoadImaged", "EnsureChannelFirstd")
    ]
    before += [_step(transform) for transform in recipe.before]
    fields = {"spatial_dim"} if recipe.inferer.name != "SliceInferer" else set()
    given = recipe.inferer.model_dump(
        mode="json", exclude={"name", *fields}, exclude_unset=True
    )
    saving = {
        **{"_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir"},
        **recipe.saving.model_dump(mode="json"),
        **{"output_postfix": "", "separate_folder": False},
    }
    after = [*(_step(transform) for transform in recipe.after), saving]
    return before, {"_target_": recipe.inferer.name, **given}, after


def _step(transform: BundleTransform) -> dict[str, Any]:
    """One transform in the words of a configuration."""
    step: dict[str, Any] = {"_target_": transform.name, **transform.args}
    if step.get("dtype"):
        step["dtype"] = f"$torch.{step['dtype']}"
    if step.get("select_fn"):
        step["select_fn"] = f"$lambda x: {step['select_fn']}"
    if transform.name == "Invertd":
        step["transform"] = "@preprocessing"
    return step


def _normalization(channels: tuple[ChannelPlan, ...]) -> dict[str, Any]:
    """One of MONAI's transforms where all channels are alike, else a function."""
    kinds = {(channel.normalization, channel.nonzero_only) for channel in channels}
    common = {"keys": "image", "channel_wise": True}
    floors = any(channel.least_range > 0 for channel in channels)
    if kinds == {("percentile", False)} and not floors:
        return {
            "_target_": "ScaleIntensityRangePercentilesd",
            "lower": 1,
            "upper": 99,
            "b_min": 0,
            "b_max": 1,
            **common,
        }
    if len(kinds) == 1 and channels[0].normalization == "zscore":
        nonzero = channels[0].nonzero_only
        return {"_target_": "NormalizeIntensityd", "nonzero": nonzero, **common}
    stained = [n for n, c in enumerate(channels) if c.normalization == "stain"]
    parts = []
    for number, channel in enumerate(channels):
        if number in stained:
            place = stained.index(number)
            parts.append(f"s[{place}:{place + 1}]")
        else:
            one = f"x[{number}:{number + 1}]"
            parts.append(f"(lambda c: {_expression(channel)})({one})")
    joined = f"torch.cat([{', '.join(parts)}])"
    if stained:
        joined = f"(lambda s: {joined})({_stain_expression(channels, stained)})"
    return {"_target_": "Lambdad", "keys": "image", "func": f"$lambda x: {joined}"}


def _stain_expression(channels: tuple[ChannelPlan, ...], numbers: list[int]) -> str:
    """The stretch of stained channels of `x`, together; see `stain.Stretch`."""
    ends = f"np.percentile(np.asarray(x[{numbers}].flatten(1)), [{LOW}, 50, {HIGH}], 1)"
    column = "reshape(-1, *[1] * (x.ndim - 1))"
    dark, bright = (
        [channels[number].least_range_of(light=light) for number in numbers]
        for light in (False, True)
    )
    return (
        "(lambda c, low, mid, high, dark, bright: "
        "(high - c) / (high - low).maximum(bright) "
        f"if ((mid - low) / (high - low).clamp_min({SMALLEST_RANGE})).mean() > {LIGHT} "
        "else ((c - low) / (high - low).maximum(dark)).clamp_min(0).sqrt())("
        f"x[{numbers}], *(torch.tensor(q, dtype=torch.float32).{column} for q in "
        f"[*{ends}, {_positive(dark)}, {_positive(bright)}]))"
    )


def _positive(sizes: list[float]) -> list[float]:
    return [max(size, SMALLEST_RANGE) for size in sizes]


def _expression(channel: ChannelPlan) -> str:
    """The normalization of one channel `c`, in torch."""
    chosen = "c[c != 0]" if channel.nonzero_only else "c"
    if channel.is_fixed:
        clip = "" if channel.clip is None else f".clamp{channel.clip}"
        return f"(c{clip} - {channel.mean}) / {channel.std}"
    if channel.normalization == "none":
        return "c"
    if channel.normalization == "minmax":
        return "(c - c.min()) / (c.max() - c.min()).clamp_min(1e-8)"
    if channel.normalization == "zscore":
        result = f"(c - {chosen}.mean()) / {chosen}.std(unbiased=False).clamp_min(1e-8)"
    else:
        low, high = (f"float(np.percentile({chosen}, {q}))" for q in (1, 99))
        result = f"(c - {low}) / max({high} - {low}, {channel.least_range}, 1e-8)"
    return f"torch.where(c != 0, {result}, 0 * c)" if channel.nonzero_only else result
