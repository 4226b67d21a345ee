"""The label scheme: which value in a file means which structure."""

from collections.abc import Collection

import numpy as np
from pydantic import model_validator

from medseg.errors import LabelError
from medseg.settings import Settings
from medseg.types import LabelArray

IGNORE_INDEX = 255
"""Index that stands for "do not score this voxel" inside medseg's own arrays."""


class LabelScheme(Settings):
    """Names and values of the structures to segment.

    Files may hold any values (0/255 masks, gaps such as 1, 7, 8, 9). Inside medseg
    a label is its index: 0 is background, 1 to n are the structures in the order of
    `names`, and `IGNORE_INDEX` marks voxels that are not to be scored.

    Examples:
        >>> import medseg
        >>> labels = medseg.LabelScheme(
        ...     names={"organ": 1, "tumour": 2}, regions={"whole": ("organ", "tumour")}
        ... )
        >>> labels.describe()
        '0 background, 1 organ, 2 tumour'
    """

    names: dict[str, int]
    """Value in the file of each structure, background first or left out."""
    background: int = 0
    """Value in the file that means "none of the structures"."""
    regions: dict[str, tuple[str, ...]] = {}
    """Overlapping regions, each a union of structures; empty for plain labels."""
    ignore: int | None = None
    """Value in the file of voxels that are neither trained on nor scored."""
    instances: bool = False
    """Every value but background and ignored is one object of the only structure, as
    in maps of counted cells; the structure's own value is then one of many."""

    @model_validator(mode="before")
    @classmethod
    def _without_background(cls, values: object) -> object:
        """Takes ``background`` out of the names, as MSD and nnU-Net list it there."""
        if not isinstance(values, dict) or not isinstance(values.get("names"), dict):
            return values
        names = dict(values["names"])
        if "background" not in names:
            return values
        return {"background": names.pop("background"), **values, "names": names}

    @model_validator(mode="after")
    def _consistent(self) -> "LabelScheme":
        values = [*self.names.values(), self.background]
        if self.ignore is not None:
            values.append(self.ignore)
        if len(set(values)) != len(values):
            raise ValueError(f"label values occur twice: {values}")
        if not self.names:
            raise ValueError("no structure is named")
        if self.instances and len(self.names) > 1:
            raise ValueError("instances are of one structure, several are named")
        if len(self.names) >= IGNORE_INDEX:
            raise ValueError(f"{len(self.names)} structures, at most 254 are possible")
        for region, members in self.regions.items():
            unknown = sorted(set(members) - set(self.names))
            if unknown or not members:
                raise ValueError(f"region {region}: unknown structures {unknown}")
        return self

    @property
    def structures(self) -> tuple[str, ...]:
        """Names of the structures; the structure at position n has index n + 1."""
        return tuple(self.names)

    @property
    def num_classes(self) -> int:
        """Number of indices: the structures and the background."""
        return len(self.names) + 1

    @property
    def values(self) -> tuple[int, ...]:
        """Value in the file of each index, background first."""
        return (self.background, *self.names.values())

    def without(self, structures: Collection[str]) -> "LabelScheme":
        """The scheme of a label map that leaves some structures out; no regions.

        Raises:
            SettingsError: No structure is left.
        """
        kept = {n: value for n, value in self.names.items() if n not in structures}
        return self.replaced(names=kept, regions={}) if structures else self

    def incomplete(self, structures: Collection[str]) -> frozenset[str]:
        """Structures that are left out, and regions that have one as a member."""
        regions = {n for n, parts in self.regions.items() if set(parts) & {*structures}}
        return frozenset({*structures, *regions})

    def unknown_values(self, label_map: LabelArray) -> list[int]:
        """Values of a label map that the scheme does not know, sorted."""
        if self.instances:
            return []
        known = [*self.values, *([] if self.ignore is None else [self.ignore])]
        return [int(v) for v in np.setdiff1d(np.unique(label_map), known)]

    def to_indices(self, label_map: LabelArray, *, name: str) -> LabelArray:
        """The label map with each value replaced by its index, as uint8.

        Args:
            label_map: Values as they are in the file.
            name: Case or file, for the error message.

        Raises:
            LabelError: The label map holds values that the scheme does not know.
        """
        if self._holds_indices(label_map):
            return label_map.astype(np.uint8)
        unknown = self.unknown_values(label_map)
        if unknown:
            raise LabelError(
                f"{name}: label map holds {unknown}, absent from the scheme "
                f"({self.describe()}); add them to the scheme or correct the file"
            )
        if self.instances:
            indices: LabelArray = (label_map != self.background).astype(np.uint8)
        else:
            indices = self._indices_by_value(label_map)
        if self.ignore is not None:
            indices[label_map == self.ignore] = IGNORE_INDEX
        return indices

    def _holds_indices(self, label_map: LabelArray) -> bool:
        """Whether every value is its own index already: the usual, cheap case."""
        plain = self.ignore is None and not self.instances
        if not plain or self.values != tuple(range(self.num_classes)):
            return False
        low, high = label_map.min(initial=0), label_map.max(initial=0)
        return bool(low >= 0 and high < self.num_classes)

    def _indices_by_value(self, label_map: LabelArray) -> LabelArray:
        # in the memory order of the file, or masks are many times slower
        indices: LabelArray = np.zeros_like(label_map, dtype=np.uint8)
        for index, value in enumerate(self.values[1:], start=1):
            np.copyto(indices, index, where=label_map == value)
        return indices

    def to_values(self, indices: LabelArray) -> LabelArray:
        """The label map with each index replaced by its value in files."""
        table = np.asarray(self.values)
        smallest = np.min_scalar_type(int(table.max()))
        if table.min() < 0:
            smallest = np.dtype(np.int16)
        return np.asarray(table.astype(smallest)[indices])

    def describe(self) -> str:
        """The scheme in one line, such as ``"0 background, 1 left, 2 right"``."""
        parts = [f"{self.background} background"]
        if self.instances:
            parts.append(f"any other value one {self.structures[0]}")
        else:
            parts += [f"{value} {name}" for name, value in self.names.items()]
        if self.ignore is not None:
            parts.append(f"{self.ignore} ignored")
        return ", ".join(parts)
