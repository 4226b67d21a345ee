"""The transforms of a bundle, from its configuration to a recipe."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from medseg.bundle_recipe import (
    AFTER,
    BEFORE,
    IMAGE,
    PREDICTION,
    BundleInferer,
    BundleSaving,
    BundleTransform,
    arguments_of,
)
from medseg.errors import ModelError
from medseg.imported.bundle_arguments import (
    class_name,
    keys_of,
    plain_values,
    selection_of,
)
from medseg.imported.bundle_config import BundleConfig
from medseg.setting_errors import nearest_name
from medseg.settings import parse_settings

LOADING = {"LoadImaged": "reader dtype ensure_channel_first", "EnsureChannelFirstd": ""}
"""What medseg's own reading stands for."""
READERS = {
    *("NibabelReader", "ITKReader", "PILReader", "NumpyReader", "NrrdReader"),
    *("PydicomReader", "nibabelreader", "itkreader", "pilreader", "numpyreader"),
    *("nrrdreader", "pydicomreader"),
}
INFERERS = (
    *("SimpleInferer", "SlidingWindowInferer", "SlidingWindowInfererAdapt"),
    "SliceInferer",
)
SAVING = "SaveImaged"
_SAVING_FIELDS = frozenset(BundleSaving.model_fields)


@dataclass(frozen=True)
class Before:
    """The way from a scan to the network's input.

    Attributes:
        inputs: Keys of the items that are loaded.
        steps: The transforms but those that read.
    """

    inputs: tuple[str, ...]
    steps: tuple[BundleTransform, ...]


def read_before(config: BundleConfig, value: Any, place: str) -> Before:
    """The transforms from a scan to the network's input.

    Raises:
        ModelError: One is not known, or is refused; it is named.
    """
    inputs: tuple[str, ...] = ()
    steps: list[BundleTransform] = []
    present: set[str] = set()
    for name, args, where in _transforms(config, value, place, {**LOADING, **BEFORE}):
        keys = keys_of(config, args, where)
        if name == "LoadImaged":
            _require_reader(config, args, where)
            inputs = (*inputs, *keys)
            present |= set(keys)
            continue
        keys = _present(config, args, keys, present, where)
        if name == "EnsureChannelFirstd":
            continue
        step = _step(config, name, args, where, BEFORE)
        steps.append(step.replaced(args={**step.args, "keys": list(keys)}))
        if name == "ConcatItemsd":
            present.add(str(step.args["name"]))
    if not inputs:
        raise ModelError(f"{config.source}: {place}: no LoadImaged reads the scan")
    if IMAGE not in present:
        raise ModelError(
            f"{config.source}: {place}: makes no item {IMAGE!r}, which is the network's"
        )
    spare = set(inputs) - {IMAGE}
    joined = any(step.name == "ConcatItemsd" for step in steps)
    if spare and not joined:
        raise ModelError(
            f"{config.source}: {place}: reads {', '.join(sorted(spare))} besides the "
            "image; a bundle's inference reads images alone"
        )
    return Before(inputs, tuple(steps))


def read_after(
    config: BundleConfig, value: Any, place: str, *, inverse_of: Any
) -> tuple[tuple[BundleTransform, ...], BundleSaving]:
    """The transforms from the network's answer to labels, and how they are saved.

    Args:
        config: The bundle's.
        value: As written.
        place: Where.
        inverse_of: The transforms before the network, which alone can be inverted.

    Raises:
        ModelError: One is not known, or is refused; it is named.
    """
    steps: list[BundleTransform] = []
    saving = BundleSaving()
    known = {**AFTER, SAVING: ""}
    for name, args, where in _transforms(config, value, place, known):
        keys = keys_of(config, args, where)
        if name == SAVING:
            if PREDICTION in keys:
                saving = _saving(config, args, where)
            continue
        if keys != (PREDICTION,):
            raise ModelError(
                f"{config.source}: {where}: {name} of {', '.join(keys)}; only the "
                f"network's answer, {PREDICTION!r}, is known here"
            )
        if name == "Invertd":
            undone, _ = config.followed(args.get("transform"), f"{where}::transform")
            if undone != config.followed(inverse_of, "preprocessing")[0]:
                raise ModelError(
                    f"{config.source}: {where}::transform: inverts something else than "
                    "what came before the network; refused"
                )
        steps.append(_step(config, name, args, where, AFTER))
    return tuple(steps), saving


def read_inferer(config: BundleConfig, value: Any, place: str) -> BundleInferer:
    """How the network goes over a scan.

    Raises:
        ModelError: The inferer is not known.
        SettingsError: A number is out of range.
    """
    known = dict.fromkeys(INFERERS, "")
    target, args, place = config.component(value, place)
    name = class_name(target, known)
    if name is None:
        raise _unknown(config, target, place, known)
    fields = frozenset(BundleInferer.model_fields)
    values = plain_values(config, args, place, fields)
    roi = values.get("roi_size")
    if isinstance(roi, int):
        raise ModelError(
            f"{config.source}: {place}::roi_size is {roi}; give a number for each axis"
        )
    return parse_settings(
        BundleInferer, {**values, "name": name}, source=f"{config.source}: {place}"
    )


def _transforms(
    config: BundleConfig, value: Any, place: str, known: Mapping[str, str]
) -> Iterator[tuple[str, Mapping[str, Any], str]]:
    """Each transform of a Compose, or of several within each other."""
    if value is None:
        return
    target, args, place = config.component(value, place)
    if class_name(target, {"Compose": ""}) is None:
        name = class_name(target, known)
        if name is None:
            raise _unknown(config, target, place, known)
        yield name, args, place
        return
    for key, given in args.items():
        if key != "transforms" and config.plain(given, f"{place}::{key}"):
            raise ModelError(f"{config.source}: {place}: Compose with {key} is refused")
    parts = config.items(args.get("transforms", []), f"{place}::transforms")
    for part, where in parts:
        yield from _transforms(config, part, where, known)


def _unknown(
    config: BundleConfig, target: str, place: str, known: Mapping[str, str]
) -> ModelError:
    near = nearest_name(target.rpartition(".")[2], known)
    return ModelError(
        f"{config.source}: {place} is {target!r:.80}, which is not in the list of what "
        f"medseg knows of MONAI{near}; refused, nothing was executed. Known are: "
        f"{', '.join(sorted(known))}. Where it can be done without: --set {place}=null"
    )


def _present(
    config: BundleConfig,
    args: Mapping[str, Any],
    keys: tuple[str, ...],
    present: set[str],
    place: str,
) -> tuple[str, ...]:
    """Those of a transform's items that are there.

    Raises:
        ModelError: One is not, and the transform does not say that it may be absent.
    """
    absent = [key for key in keys if key not in present]
    may = config.plain(
        args.get("allow_missing_keys", False), f"{place}::allow_missing_keys"
    )
    if absent and may is not True:
        raise ModelError(
            f"{config.source}: {place}: wants the item {absent[0]!r:.40}, which "
            "nothing has read before"
        )
    return tuple(key for key in keys if key in present)


def _require_reader(config: BundleConfig, args: Mapping[str, Any], place: str) -> None:
    """Refuses readers that are not MONAI's own.

    Raises:
        ModelError: It is another.
    """
    plain_values(
        config, args, place, frozenset(f"keys {LOADING['LoadImaged']}".split())
    )
    reader = config.plain(args.get("reader"), f"{place}::reader")
    if reader is not None and reader not in READERS:
        raise ModelError(
            f"{config.source}: {place}::reader is {reader!r:.80}; known are "
            f"{', '.join(sorted(READERS))}"
        )


def _step(
    config: BundleConfig,
    name: str,
    args: Mapping[str, Any],
    place: str,
    known: Mapping[str, str],
) -> BundleTransform:
    """A transform with plain arguments.

    Raises:
        ModelError: An argument is not known, or is refused.
    """
    args = dict(args)
    if "select_fn" in args:
        args["select_fn"] = selection_of(config, args["select_fn"], place)
    values = plain_values(config, args, place, arguments_of(name, known))
    try:
        step = BundleTransform(name=name, args=values)
        step.require_known(known)
    except ValueError as error:
        raise ModelError(f"{config.source}: {place}: {error!s:.300}") from error
    return step


def _saving(config: BundleConfig, args: Mapping[str, Any], place: str) -> BundleSaving:
    values = plain_values(config, args, place, _SAVING_FIELDS)
    return parse_settings(BundleSaving, values, source=f"{config.source}: {place}")
