"""What a configuration of nnU-Net's plans.json asks of a scan."""

from collections.abc import Mapping
from typing import Any, get_args

from medseg.errors import ModelError
from medseg.imported.labels import NnUNetLabels
from medseg.nnunet_recipe import (
    NnUNetChannel,
    NnUNetRecipe,
    NnUNetResampling,
    Reader,
    Scheme,
)
from medseg.settings import parse_settings

_PREPROCESSOR = "DefaultPreprocessor"
_LABEL_MANAGER = "LabelManager"
_CT = {
    "mean": "mean",
    "std": "std",
    "low": "percentile_00_5",
    "high": "percentile_99_5",
}
_OLD_STATISTICS = "foreground_intensity_properties_by_modality"


def configuration_of(
    plans: Mapping[str, Any], name: str, *, source: str
) -> dict[str, Any]:
    """A configuration with everything that it inherits.

    Raises:
        ModelError: There is no such configuration, or it inherits from itself.
    """
    configurations = plans.get("configurations")
    if not isinstance(configurations, dict):
        raise ModelError(f"{source}: no configurations; not the plans of nnU-Net v2")
    chain: list[dict[str, Any]] = []
    seen: list[str] = []
    wanted: Any = name
    while wanted is not None:
        found = configurations.get(wanted) if isinstance(wanted, str) else None
        if not isinstance(found, dict) or wanted in seen:
            raise ModelError(
                f"{source}: configuration {wanted!r:.80} is not there or inherits from "
                f"itself; found {', '.join(map(str, configurations))}"
            )
        seen.append(wanted)
        chain.append(found)
        wanted = found.get("inherits_from")
    return {key: value for part in reversed(chain) for key, value in part.items()}


def channel_names(dataset: Mapping[str, Any], *, source: str) -> tuple[str, ...]:
    """Names of the input channels, in the order of their numbers; equal ones numbered.

    A file's ``_0001`` is channel 1, wherever dataset.json lists it.

    Raises:
        ModelError: The file names none.
    """
    channels = dataset.get("modality", dataset.get("channel_names"))
    if not isinstance(channels, dict) or not channels:
        raise ModelError(f"{source}: channel_names: expected a mapping")
    numbers = [str(key) for key in channels]
    if all(number.isdecimal() for number in numbers):
        channels = dict(sorted(channels.items(), key=lambda item: int(item[0])))
    names: list[str] = []
    for value in channels.values():
        name = str(value)[:60] or "channel"
        names.append(f"{name}_{len(names)}" if name in names else name)
    return tuple(names)


def recipe_of(
    plans: Mapping[str, Any],
    configuration: Mapping[str, Any],
    labels: NnUNetLabels,
    *,
    num_channels: int,
    name: str,
    trainer: str,
    mirror_axes: tuple[int, ...],
    source: str,
) -> NnUNetRecipe:
    """Everything that nnU-Net's predictor does around the network.

    Raises:
        ModelError: The plans name a class that is not known, or lack something.
        SettingsError: A number is out of range.
    """
    _require(plans, "label_manager", _LABEL_MANAGER, source)
    _require(configuration, "preprocessor_name", _PREPROCESSOR, source)
    reader = plans.get("image_reader_writer")
    if reader not in get_args(Reader):
        raise _unknown(source, "image_reader_writer", reader, get_args(Reader))
    values = {
        "reader": reader,
        "transpose": plans.get("transpose_forward", (0, 1, 2)),
        "spacing": configuration.get("spacing"),
        "patch_size": configuration.get("patch_size"),
        "channels": _channels(plans, configuration, num_channels, source),
        "mirror_axes": mirror_axes,
        "foreground": labels.foreground,
        "region_order": labels.region_order,
        "cascade": configuration.get("previous_stage") is not None,
        "configuration": name,
        "trainer": trainer,
    }
    for part, key in (
        ("resampling_data", "resampling_fn_data"),
        ("resampling_labels", "resampling_fn_seg"),
        ("resampling_logits", "resampling_fn_probabilities"),
    ):
        values[part] = _resampling(configuration, key, source)
    return parse_settings(NnUNetRecipe, values, source=source)


def _require(values: Mapping[str, Any], key: str, known: str, source: str) -> None:
    if values.get(key, known) != known:
        raise _unknown(source, key, values[key], [known])


def _unknown(source: str, key: str, found: Any, known: Any) -> ModelError:
    return ModelError(
        f"{source}: {key} is {found!r:.80}; known are {', '.join(known)}; a model that "
        "was trained with another class cannot be imported"
    )


def _channels(
    plans: Mapping[str, Any],
    configuration: Mapping[str, Any],
    count: int,
    source: str,
) -> list[NnUNetChannel]:
    schemes = configuration.get("normalization_schemes")
    masks = configuration.get("use_mask_for_norm")
    for key, found in (
        ("normalization_schemes", schemes),
        ("use_mask_for_norm", masks),
    ):
        if not isinstance(found, list) or len(found) < count:
            raise ModelError(
                f"{source}: {key} is {found!r:.80}, expected one for each of {count} "
                "channels"
            )
    assert isinstance(schemes, list)
    assert isinstance(masks, list)
    key = "foreground_intensity_properties_per_channel"
    statistics = plans.get(key, plans.get(_OLD_STATISTICS))
    statistics = statistics if isinstance(statistics, dict) else {}
    channels = []
    for number in range(count):
        scheme = schemes[number]
        if scheme not in get_args(Scheme):
            raise _unknown(source, "normalization_schemes", scheme, get_args(Scheme))
        values: dict[str, Any] = {"scheme": scheme, "use_mask": masks[number]}
        if scheme == "CTNormalization":
            found = statistics.get(str(number))
            if not isinstance(found, dict) or not set(_CT.values()) <= set(found):
                raise ModelError(
                    f"{source}: {key}: no {', '.join(_CT.values())} of channel {number}"
                )
            values |= {ours: found[theirs] for ours, theirs in _CT.items()}
        channels.append(parse_settings(NnUNetChannel, values, source=source))
    return channels


def _resampling(
    configuration: Mapping[str, Any], key: str, source: str
) -> NnUNetResampling:
    """A resampling function and its arguments; a device is left to the call."""
    values = configuration.get(f"{key}_kwargs")
    values = dict(values) if isinstance(values, dict) else {}
    for unused in ("device", "num_threads"):
        values.pop(unused, None)
    known = get_args(NnUNetResampling.model_fields["function"].annotation)
    if configuration.get(key) not in known:
        raise _unknown(source, key, configuration.get(key), known)
    values["function"] = configuration[key]
    if values["function"] == "resample_data_or_seg_to_shape":
        values.setdefault("force_separate_z", False)  # null is not the default there
    if values["function"] == "no_resampling_hack":
        values = {"function": values["function"]}
    values = {n: v for n, v in values.items() if v is not None}
    return parse_settings(NnUNetResampling, values, source=f"{source}: {key}_kwargs")
