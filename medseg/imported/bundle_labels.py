"""What a bundle's answer means: names from metadata.json, values from its transforms.

A label map has one value for each voxel. Where a bundle answers with masks that may
overlap, it holds the sum of powers of two of the masks at a voxel, so that each mask
can be told again from it; the masks are the label scheme's regions.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from medseg.bundle_recipe import BundleRecipe, BundleSaving, BundleTransform
from medseg.errors import ModelError

MOST_MASKS = 4
"""Overlapping masks of one bundle: 15 combinations."""
Answer = Literal["labels", "onehot", "masks"]
_MOVES = {
    *("Orientationd", "Spacingd", "Resized", "SpatialPadd", "DivisiblePadd"),
    *("BorderPadd", "ResizeWithPadOrCropd", "CenterSpatialCropd", "CropForegroundd"),
}
_GENERIC = {"", "image", "img", "input", "channel 0", "0"}
_OF_FORMAT = {"hounsfield": "CT"}


def answer_of(
    after: Sequence[BundleTransform],
    channels: int,
    *,
    before: Sequence[BundleTransform],
    saving: BundleSaving,
) -> tuple[Answer, list[str]]:
    """What the transforms after the network end in, and remarks.

    Args:
        after: Those transforms.
        channels: Of the network's answer.
        before: The transforms before the network.
        saving: How MONAI saves the result.

    Raises:
        ModelError: They do not end in labels.
    """
    answer = _answer(after)
    if answer is None:
        raise ModelError(
            "postprocessing: no AsDiscreted with argmax or threshold, so that numbers "
            "come out and no labels; add one with --set"
        )
    if answer == "masks" and channels > MOST_MASKS:
        raise ModelError(
            f"postprocessing: {channels} overlapping masks; at most {MOST_MASKS} fit "
            "into one label map"
        )
    return answer, [*_blurred(after), *_moved(before, after, saving)]


def _answer(after: Sequence[BundleTransform]) -> Answer | None:
    """What the last step that decides makes of the channels; None where none does."""
    answer: Answer | None = None
    for step in after:
        if step.name != "AsDiscreted":
            continue
        if _one(step.args.get("argmax")):
            answer = "labels"
        if _one(step.args.get("to_onehot")):
            answer = "onehot"
        if _one(step.args.get("threshold")) is not None and answer is None:
            answer = "masks"
    return answer


def _blurred(after: Sequence[BundleTransform]) -> list[str]:
    """What is said of labels that are brought back by interpolation."""
    for number, step in enumerate(after):
        linear = step.args.get("nearest_interp", True) is not True
        if step.name == "Invertd" and linear and _answer(after[:number]) == "labels":
            return [
                "labels are brought back by interpolation (Invertd after argmax); "
                "fractions between two labels are rounded"
            ]
    return []


def _moved(
    before: Sequence[BundleTransform],
    after: Sequence[BundleTransform],
    saving: BundleSaving,
) -> list[str]:
    """What is said of labels that nothing brings back."""
    inverted = any(step.name == "Invertd" for step in after)
    if inverted or saving.resample or not any(s.name in _MOVES for s in before):
        return []
    return [
        "MONAI saves the label map on the network's grid; here it is brought onto the "
        "scan's own, by the nearest voxel"
    ]


def _one(value: Any) -> Any:
    return value[0] if isinstance(value, list) and value else value


def outputs_of(
    metadata: Mapping[str, Any], channels: int
) -> tuple[list[str], list[str]]:
    """The name of each channel of the answer, and remarks.

    Args:
        metadata: What metadata.json holds.
        channels: Of the network's answer.
    """
    found = _definitions(metadata, "outputs")
    names = [found.get(str(n), "") for n in range(channels)]
    unnamed = [n for n, name in enumerate(names) if not name]
    plain = [name or f"label {n}" for n, name in enumerate(names)]
    unique: list[str] = []
    for n, name in enumerate(plain):
        unique.append(f"{name} {n}" if name in unique else name)
    notes = []
    if unnamed and metadata:
        notes.append(
            f"metadata.json names {channels - len(unnamed)} of {channels} channels of "
            "the answer; the others are called by number"
        )
    return unique, notes


def _definitions(metadata: Mapping[str, Any], side: str) -> dict[str, str]:
    """``channel_def`` of the first item on a side, its texts shortened."""
    node: Any = metadata
    for key in ("network_data_format", side):
        node = node.get(key, {}) if isinstance(node, Mapping) else {}
    items = list(node.values()) if isinstance(node, Mapping) else []
    item = items[0] if items and isinstance(items[0], Mapping) else {}
    defined = item.get("channel_def", {})
    if not isinstance(defined, Mapping):
        return {}
    return {
        str(key): " ".join(str(value).split())[:80] for key, value in defined.items()
    }


def label_scheme(recipe: BundleRecipe, outputs: Sequence[str]) -> dict[str, Any]:
    """The label scheme of a recipe's label maps.

    Args:
        recipe: What the bundle does.
        outputs: Names of the channels of the answer.

    Raises:
        ModelError: The channels are not those of labels.
    """
    if recipe.answer == "masks":
        return _of_masks(outputs)
    if len(outputs) < 2:
        raise ModelError("postprocessing: the largest of one channel is no label")
    values = _values(recipe, len(outputs))
    background = values.pop(0)
    names = {name: values[n] for n, name in enumerate(outputs) if n}
    return {"names": names, "background": background}


def _values(recipe: BundleRecipe, channels: int) -> dict[int, int]:
    """Value in the label map of each channel, after ``MapLabelValued``.

    Raises:
        ModelError: Two channels get the same value, or it is no whole number.
    """
    values = {n: n for n in range(channels)}
    for step in recipe.after:
        if step.name != "MapLabelValued":
            continue
        before, new = (step.args.get(k) for k in ("orig_labels", "target_labels"))
        if not (
            isinstance(before, list)
            and isinstance(new, list)
            and len(before) == len(new)
            and all(isinstance(n, int) for n in (*before, *new))
        ):
            raise ModelError("MapLabelValued: expected two lists of whole numbers")
        turned: dict[Any, Any] = dict(zip(before, new, strict=True))
        values = {n: turned.get(value, value) for n, value in values.items()}
    if len(set(values.values())) < channels:
        raise ModelError("MapLabelValued: two labels become one, which is not known")
    return values


def _of_masks(outputs: Sequence[str]) -> dict[str, Any]:
    """Names of all combinations of masks, and each mask as a region."""
    if len(outputs) > 1 and outputs[0].lower() in {"background", "bg"}:
        raise ModelError(
            "postprocessing: a threshold over a background channel; expected argmax"
        )
    names: dict[str, int] = {}
    regions: dict[str, list[str]] = {name: [] for name in outputs}
    for count in range(1, len(outputs) + 1):
        for chosen in itertools.combinations(range(len(outputs)), count):
            name = " and ".join(outputs[n] for n in chosen)
            names[name] = sum(1 << n for n in chosen)
            for n in chosen:
                regions[outputs[n]].append(name)
    by_value = sorted(names.items(), key=lambda item: item[1])
    return {"names": dict(by_value), "regions": regions}


def channel_plans(
    metadata: Mapping[str, Any], recipe: BundleRecipe, channels: int
) -> list[dict[str, Any]]:
    """The channels of a scan, and how the plan says their normalization.

    Only `Plan` needs it: to ask for the right DICOM series, and for fine-tuning. The
    recipe says what is computed.
    """
    found = _definitions(metadata, "inputs")
    names = [found.get(str(n), "") for n in range(channels)]
    if len(recipe.inputs) == channels > 1:
        names = [n or key for n, key in zip(names, recipe.inputs, strict=True)]
    if channels == 1 and names[0].lower() in _GENERIC:
        names = [_modality(metadata)]
    plain = [name or f"channel {n}" for n, name in enumerate(names)]
    common = normalization_of(recipe)
    if common["normalization"] == "fixed" and _modality(metadata).upper() == "CT":
        common["normalization"] = "ct"
    return [
        {"name": name if plain.count(name) == 1 else f"{name} {n}", **common}
        for n, name in enumerate(plain)
    ]


def _modality(metadata: Mapping[str, Any]) -> str:
    node: Any = metadata.get("network_data_format", {})
    node = node.get("inputs", {}) if isinstance(node, Mapping) else {}
    item: Any = next(iter(node.values()), {}) if isinstance(node, Mapping) else {}
    if not isinstance(item, Mapping):
        return "image"
    stated = item.get("modality")
    name = _OF_FORMAT.get(str(item.get("format")), "")
    return (str(stated)[:80] if stated else name) or "image"


def normalization_of(recipe: BundleRecipe) -> dict[str, Any]:
    """The plan's words nearest to what a recipe does to intensities.

    ``none`` where nothing is near. The plan looks at each channel by itself.
    """
    scaling = [s for s in recipe.before if "Intensity" in s.name]
    if len(scaling) != 1:
        return {"normalization": "none"}
    name, args = scaling[0].name, scaling[0].args
    if name == "NormalizeIntensityd" and not {"subtrahend", "divisor"} & set(args):
        return {"normalization": "zscore", "nonzero_only": args.get("nonzero") is True}
    if name == "ScaleIntensityRangePercentilesd":
        return {"normalization": "percentile"}
    if name == "ScaleIntensityd":
        ends = (args.get("minv", 0), args.get("maxv", 1), args.get("factor"))
        return {"normalization": "minmax" if ends == (0, 1, None) else "none"}
    if name == "ScaleIntensityRanged":
        return _fixed(args)
    return {"normalization": "none"}


def _fixed(args: Mapping[str, Any]) -> dict[str, Any]:
    """``ScaleIntensityRanged`` in the plan's words."""
    numbers = [args.get(key) for key in ("a_min", "a_max", "b_min", "b_max")]
    low, high, bottom, top = (
        float(n) if isinstance(n, int | float) else 0.0 for n in numbers
    )
    if not (high > low and top > bottom):
        return {"normalization": "none"}
    std = (high - low) / (top - bottom)
    return {
        "normalization": "fixed",
        "clip": (low, high) if args.get("clip") is True else None,
        "mean": low - bottom * std,
        "std": std,
    }
