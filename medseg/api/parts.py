"""Parts of a run as a Python call gives them: a name, a block, or the object itself."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from medseg.plugins import block_of, name_of

Part: TypeAlias = str | Mapping[str, Any] | object
"""A registered name or path; a block as in YAML, with ``name`` and ``args``; or the
object itself: a class or function, or one that is finished."""


def with_parts(
    values: Mapping[str, Any],
    *,
    network: Part | None = None,
    loss: Part | None = None,
    sampler: Part | None = None,
    transforms: Sequence[Part] = (),
    optimizer: Part | None = None,
    schedule: Part | None = None,
    metrics: Sequence[Part] = (),
    trackers: Sequence[Part] = (),
    readers: Sequence[Part] = (),
    layouts: Sequence[Part] = (),
) -> dict[str, Any]:
    """A configuration's values with the parts that a call gives."""
    result = dict(values)
    places: dict[str, Any] = {
        "plan.network": None if network is None else block_of(network),
        "training.loss": None if loss is None else block_of(loss),
        "training.optimizer": None if optimizer is None else block_of(optimizer),
        "training.schedule": None if schedule is None else block_of(schedule),
        "training.augmentation.transforms": list(map(block_of, transforms)),
        "metrics.extra": list(map(block_of, metrics)),
        "tracking.loggers": list(map(block_of, trackers)),
        "readers": list(map(name_of, readers)),
        "layouts": list(map(name_of, layouts)),
    }
    if sampler is not None:
        block = block_of(sampler)
        places["training.sampling.strategy"] = block["name"]
        places["training.sampling.args"] = block.get("args", {})
    for place, value in places.items():
        if value:
            _set(result, place.split("."), value)
    return result


def _set(values: dict[str, Any], keys: list[str], value: Any) -> None:
    """Sets a nested value, in copies of the mappings on the way."""
    for key in keys[:-1]:
        values[key] = dict(values.get(key) or {})
        values = values[key]
    values[keys[-1]] = value
