"""Classes and arguments of a bundle's objects, as plain values."""

import re
from collections.abc import Mapping
from typing import Any

from medseg.bundle_recipe import SELECTION
from medseg.errors import ModelError
from medseg.imported.bundle_config import BundleConfig
from medseg.setting_errors import nearest_name

_OF_MONAI = re.compile(
    r"(?:monai\.(?:transforms|networks\.nets|inferers|engines|data|handlers)\."
    r"(?:\w+\.)*)?(\w+)"
)
"""A class by its name alone, which MONAI looks for, or in the module it lies in."""
_OF_NO_CONSEQUENCE = frozenset(
    {
        *("device", "sw_device", "meta_keys", "meta_key_postfix", "orig_meta_keys"),
        *("start_coord_key", "end_coord_key", "progress", "cache_roi_weight_map"),
        *("cpu_thresh", "buffer_steps", "buffer_dim", "image_only", "overwriting"),
        *("simple_keys", "prune_meta_pattern", "prune_meta_sep", "expanduser"),
        *("strict_check", "channel_dim", "transform", "output_dir", "output_postfix"),
        *("output_ext", "output_dtype", "dtype", "scale", "squeeze_end_dims"),
        *("data_root_dir", "separate_folder", "print_log", "output_format", "writer"),
        *("output_name_formatter", "folder_layout", "savepath_in_metadict"),
    }
)
"""Arguments that change no label; those of them that a transform lists are kept."""
_MUST_BE_OFF = ("lazy", "post_func", "with_coord", "other")


def class_name(target: str, known: Mapping[str, Any]) -> str | None:
    """The class that a ``_target_`` names, if it is a known one of MONAI's.

    MONAI has each dictionary transform under three names: ``Spacingd``, ``SpacingD``
    and ``SpacingDict``.
    """
    found = _OF_MONAI.fullmatch(target)
    if found is None:
        return None
    name = found[1]
    for candidate in (name, re.sub(r"(?:D|Dict)$", "d", name)):
        if candidate in known:
            return candidate
    return None


def keys_of(
    config: BundleConfig, args: Mapping[str, Any], place: str
) -> tuple[str, ...]:
    """The items that a transform is about.

    Raises:
        ModelError: It names none.
    """
    keys = config.plain(args.get("keys"), f"{place}::keys")
    keys = [keys] if isinstance(keys, str) else keys
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise ModelError(f"{config.source}: {place}::keys: {keys!r:.80}")
    return tuple(keys)


def plain_values(
    config: BundleConfig, args: Mapping[str, Any], place: str, wanted: frozenset[str]
) -> dict[str, Any]:
    """The plain values of the arguments that matter.

    Raises:
        ModelError: Another argument is not known, or one is refused.
    """
    values = {}
    for key, value in args.items():
        if key in wanted:
            values[key] = config.plain(value, f"{place}::{key}")
        elif key in _MUST_BE_OFF:
            if config.plain(value, f"{place}::{key}"):
                raise ModelError(
                    f"{config.source}: {place}::{key} is not known; refused"
                )
        elif key not in _OF_NO_CONSEQUENCE and key not in {
            "keys",
            "allow_missing_keys",
        }:
            near = nearest_name(key, wanted)
            raise ModelError(
                f"{config.source}: {place}: argument {key!r:.60} is not known{near}"
            )
    return values


def selection_of(config: BundleConfig, value: Any, place: str) -> Any:
    """The comparison that a ``select_fn`` makes, as text, where it is one.

    Raises:
        ModelError: It is another function.
    """
    value, where = config.followed(value, f"{place}::select_fn")
    if value is None or (isinstance(value, str) and SELECTION.fullmatch(value)):
        return value
    text = " ".join(str(value).split())
    found = re.fullmatch(
        r"\$lambda (\w+) ?: ?\1 ?(>=|<=|!=|>|<) ?(-?\d+(?:\.\d+)?)", text
    )
    if found is None:
        raise config.refused(where, f"the function {text!r:.120}")
    return f"x {found[2]} {found[3]}"
