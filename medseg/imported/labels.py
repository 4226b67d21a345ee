"""Labels and regions of nnU-Net's dataset.json, as a label scheme."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from medseg.errors import ModelError
from medseg.labels import LabelScheme
from medseg.settings import parse_settings


@dataclass(frozen=True)
class NnUNetLabels:
    """What the network's outputs mean.

    Attributes:
        scheme: Values in label maps, as nnU-Net writes them.
        foreground: All values but background that dataset.json names, sorted.
        region_order: Value that each region is painted with; empty for plain labels.
    """

    scheme: LabelScheme
    foreground: tuple[int, ...]
    region_order: tuple[int, ...]


def read_labels(dataset: Mapping[str, Any], *, source: str) -> NnUNetLabels:
    """The labels of a dataset.json.

    Regions exist only where a label is a list of several values. Else the network's
    outputs are the sorted values, and label maps hold their position among these.

    Raises:
        ModelError: The labels are none that nnU-Net takes.
    """
    labels = dataset.get("labels")
    if not isinstance(labels, dict) or labels.get("background") != 0:
        raise ModelError(f"{source}: labels: expected a mapping with background: 0")
    ignore = labels.get("ignore")
    if ignore is not None and not isinstance(ignore, int):
        raise ModelError(
            f"{source}: labels: ignore is {ignore!r:.40}, expected a value"
        )
    members = {
        str(name): _values(value, str(name), source)
        for name, value in labels.items()
        if name != "ignore"
    }
    every = sorted({value for values in members.values() for value in values} | {0})
    if ignore is not None and ignore != every[-1] + 1:
        raise ModelError(
            f"{source}: labels: ignore is {ignore}, expected the highest value and one "
            f"more, {every[-1] + 1}"
        )
    foreground = tuple(value for value in every if value)
    if any(len(values) > 1 for values in members.values()):
        order = dataset.get("regions_class_order")
        return _regions(members, order, foreground, ignore, source)
    names: dict[str, int] = {}
    for rank, value in enumerate(every):
        same = [name for name, values in members.items() if values == (value,)]
        if value:
            names[" / ".join(same)] = rank
    scheme = _scheme(names, {}, ignore, source)
    return NnUNetLabels(scheme, foreground, ())


def _values(value: Any, name: str, source: str) -> tuple[int, ...]:
    found = value if isinstance(value, list) else [value]
    if not found or not all(isinstance(n, int) and 0 <= n < 1 << 15 for n in found):
        raise ModelError(f"{source}: labels: {name} is {value!r:.80}, expected values")
    return tuple(found)


def _regions(
    members: Mapping[str, tuple[int, ...]],
    order: Any,
    foreground: tuple[int, ...],
    ignore: int | None,
    source: str,
) -> NnUNetLabels:
    """A structure for each painted value; regions are unions of them."""
    regions = {name: v for name, v in members.items() if set(v) != {0}}
    if (
        not isinstance(order, list)
        or len(order) != len(regions)
        or not all(isinstance(value, int) and 0 <= value < 1 << 15 for value in order)
    ):
        raise ModelError(
            f"{source}: regions_class_order is {order!r:.80}, expected one value for "
            f"each of {', '.join(regions)}"
        )
    names: dict[str, int] = {}
    for (name, values), value in zip(regions.items(), order, strict=True):
        if value and value not in names.values():
            names[name if values == (value,) else f"{name} (label {value})"] = value
    unions = {
        name: tuple(n for n, value in names.items() if value in values)
        for name, values in regions.items()
    }
    if lost := [name for name, parts in unions.items() if not parts]:
        raise ModelError(
            f"{source}: regions_class_order {order}: no value of region {lost[0]} is "
            "ever painted"
        )
    scheme = _scheme(names, unions, ignore, source)
    return NnUNetLabels(scheme, foreground, tuple(order))


def _scheme(
    names: dict[str, int],
    regions: dict[str, tuple[str, ...]],
    ignore: int | None,
    source: str,
) -> LabelScheme:
    values = {"names": names, "regions": regions, "ignore": ignore}
    return parse_settings(LabelScheme, values, source=f"{source}: labels")
