"""Label values and channels of data sets that nobody described: read from the files."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from medseg.datasets.known import Known
from medseg.errors import DatasetError, InputError
from medseg.labels import LabelScheme
from medseg.types import LabelArray

T = TypeVar("T")

MOST_STRUCTURES = 254
_OBJECTS_IN_A_MAP = 10
_BLOCK = 1 << 20
_PICTURES = {".png", ".tif", ".tiff", ".bmp", ".jpg", ".jpeg"}


@dataclass(frozen=True)
class Discovery:
    """What the label maps hold."""

    values: tuple[tuple[int, ...], ...]
    """Values of each label map that could be read, sorted."""

    @property
    def all_values(self) -> list[int]:
        """Values that occur anywhere, sorted."""
        return sorted({value for values in self.values for value in values})

    @property
    def are_objects(self) -> bool:
        """Whether the values seem to number objects rather than name structures.

        So it is when every map holds 1 to n without gaps, n takes at least three
        sizes, and some map counts above ten.
        """
        counts = {max(values, default=0) for values in self.values}
        gapless = all(
            set(values) - {0} == set(range(1, len(set(values) - {0}) + 1))
            for values in self.values
        )
        return gapless and len(counts - {0}) >= 3 and max(counts) > _OBJECTS_IN_A_MAP


def discover_scheme(labels: Sequence[Path], *, root: Path, known: Known) -> LabelScheme:
    """The label scheme, as known or as the label maps suggest.

    Names are ``label_1``, ``label_2`` after the values; a single value is named
    ``foreground``, whether it is 1 or 255. Maps that number objects become one
    structure named ``object``. Files that cannot be read are passed over; the doctor
    names them.

    Args:
        labels: Label maps to read.
        root: Data set, for messages.
        known: Its scheme wins; its progress shows the reading.

    Raises:
        DatasetError: No label map could be read, none holds a structure, or they
            hold too many values to be labels.
    """
    if known.scheme is not None:
        return known.scheme
    found = Discovery(tuple(_read_values(labels, known)))
    if not found.values:
        raise DatasetError(f"{root}: none of {len(labels)} label maps can be read")
    if found.are_objects:
        known.progress.warn(
            f"{root}: label values number objects (up to {max(found.all_values)} in "
            "a map); they are taken as one structure. Name labels to change that"
        )
        return LabelScheme(names={"object": 1}, instances=True)
    values = [value for value in found.all_values if value != 0]
    if not values or len(values) > MOST_STRUCTURES:
        raise DatasetError(
            f"{root}: label maps hold {len(values)} values beside 0, expected 1 to "
            f"{MOST_STRUCTURES}; are they images, or stored with lossy compression?"
        )
    scheme = LabelScheme(names=_names(values))
    known.progress.say(f"{root}: labels found in the files: {scheme.describe()}")
    return scheme


def discover_channels(
    images: Sequence[tuple[Path, ...]], suffixes: Sequence[str], *, known: Known
) -> tuple[str, ...]:
    """Names of the input channels, as known or as the images suggest.

    Args:
        images: Files of each case.
        suffixes: What the names of a case's files end in, one per channel; empty
            where a case is a single file.
        known: Its channels win.
    """
    if known.channels is not None:
        return known.channels
    if len(suffixes) > 1:
        return tuple(suffixes)
    counts = [count for count in _channel_counts(images, known) if count]
    count = max(counts, default=1)
    if len(set(counts)) > 1:
        known.progress.warn(
            f"images have {min(counts)} to {count} channels; grey ones count as "
            f"{count} equal channels"
        )
    if count == 1:
        return tuple(suffixes) or ("image",)
    if count == 3 and _is_picture(images[0][0]):
        return ("red", "green", "blue")
    return tuple(f"channel_{number}" for number in range(count))


def values_in(voxels: LabelArray) -> tuple[int, ...]:
    """The values that occur in a label map, sorted; without sorting small types."""
    flat = voxels.ravel(order="K")
    if voxels.dtype.itemsize > 2 or voxels.dtype.kind != "u":
        return tuple(int(value) for value in np.unique(flat))
    seen = np.zeros(np.iinfo(voxels.dtype).max + 1, dtype=bool)
    for start in range(0, flat.size, _BLOCK):  # an index array costs eight bytes each
        seen[flat[start : start + _BLOCK]] = True
    return tuple(int(value) for value in np.flatnonzero(seen))


def _read_values(labels: Sequence[Path], known: Known) -> Iterator[tuple[int, ...]]:
    results = _in_threads(_values_or_none, labels, "Reading label maps", known)
    yield from (values for values in results if values is not None)


def _in_threads(
    function: Callable[[Path], T], paths: Sequence[Path], label: str, known: Known
) -> list[T]:
    """The function of each path, with progress; geometry is not what is asked here."""
    from medseg.io import GeometryWarning

    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        warnings.simplefilter("ignore", GeometryWarning)
        results = pool.map(function, paths)
        return list(known.progress.track(results, label=label, total=len(paths)))


def _values_or_none(path: Path) -> tuple[int, ...] | None:
    from medseg.io import read_label_map

    try:
        return values_in(read_label_map(path).voxels)
    except InputError:
        return None


def _channel_counts(images: Sequence[tuple[Path, ...]], known: Known) -> list[int]:
    """Channels of every picture, or of the first volume that can be read."""
    files = [paths[0] for paths in images]
    if files and _is_picture(files[0]):
        return _in_threads(_count_or_zero, files, "Reading images", known)
    return [next((count for count in map(_count_or_zero, files) if count), 0)]


def _count_or_zero(path: Path) -> int:
    from medseg.io import read_volume

    try:
        return read_volume(path).num_channels
    except InputError:
        return 0


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in _PICTURES


def _names(values: list[int]) -> dict[str, int]:
    if len(values) == 1:
        return {"foreground": values[0]}
    return {f"label_{value}".replace("-", "minus_"): value for value in values}
