"""Label values and channels of data sets that nobody described: read from the files."""

import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from medseg.datasets.label_noise import CAUSE, noise_in, values_in
from medseg.datasets.overrides import DatasetOverrides
from medseg.errors import DatasetError, InputError
from medseg.io.label_reading import plain_name
from medseg.labels import LabelScheme

T = TypeVar("T")

MOST_STRUCTURES = 254
_OBJECTS_IN_A_MAP = 10
LOSSY = {".jpg", ".jpeg"}
_PICTURES = {".png", ".tif", ".tiff", ".bmp", *LOSSY}


@dataclass(frozen=True)
class MapContent:
    """What one label map holds."""

    values: tuple[int, ...]
    """Sorted; without those that seem to be noise."""
    names: dict[str, int] = field(default_factory=dict)
    """Value of each structure that the file itself names."""
    noise: tuple[int, ...] = ()
    """Values that compression or interpolation seems to have left."""


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


def discover_scheme(
    labels: Sequence[Path], *, root: Path, known: DatasetOverrides
) -> LabelScheme:
    """The label scheme, as known or as the label maps suggest.

    Names are ``label_1``, ``label_2`` after the values; a single value is named
    ``foreground``, whether it is 1 or 255. Maps that number objects become one
    structure named ``object``. Where the files name their structures, as 3D Slicer's
    do and folders of masks, these names count. Files that cannot be read, and values
    that are noise, are passed over; the doctor names them.

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
    contents = read_contents(labels, root=root, known=known)
    if any(content.names for content in contents):
        return _scheme_of_names(contents, root)
    found = Discovery(tuple(content.values for content in contents))
    _say_noise(contents, root, known)
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


def read_contents(
    labels: Sequence[Path], *, root: Path, known: DatasetOverrides
) -> list[MapContent]:
    """What each label map holds, of those that can be read.

    Raises:
        DatasetError: None can be read; the reason of the first is given.
    """
    results = _in_threads(_content_of, labels, "Reading label maps", known)
    contents = [result for result in results if isinstance(result, MapContent)]
    if not contents:
        reasons = [str(result) for result in results]
        why = f"; {reasons[0]}" if reasons else ""
        raise DatasetError(f"{root}: none of {len(labels)} label maps can be read{why}")
    return contents


def discover_channels(
    images: Sequence[tuple[Path, ...]],
    suffixes: Sequence[str],
    *,
    known: DatasetOverrides,
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


def _scheme_of_names(contents: Sequence[MapContent], root: Path) -> LabelScheme:
    """The scheme of structures that the files name, values as the first file's.

    A name whose value is another structure's gets the next free one.

    Raises:
        DatasetError: Some files name their structures and others do not, and the
            names do not always have the same value.
    """
    names: dict[str, int] = {}
    plain: dict[str, str] = {}
    for content in contents:
        for name, value in content.names.items():
            key = plain_name(name) or name
            if key in plain or key == "background":
                continue
            plain[key] = name
            taken = {0, *names.values()}
            free = next(n for n in range(1, len(taken) + 1) if n not in taken)
            names[name] = value if value not in taken else free
    changing = sorted(
        name
        for content in contents
        for name, value in content.names.items()
        if names.get(plain.get(plain_name(name), name)) != value
    )
    if changing and not all(content.names for content in contents):
        raise DatasetError(
            f"{root}: {changing[0]} has several values in the label maps that name "
            "their structures, and others name none, so that theirs cannot be told; "
            "save all in one format"
        )
    return LabelScheme(names=names)


def _say_noise(
    contents: Sequence[MapContent], root: Path, known: DatasetOverrides
) -> None:
    count = sum(bool(content.noise) for content in contents)
    if count:
        odd = next(content.noise for content in contents if content.noise)
        known.progress.warn(
            f"{root}: {count} of {len(contents)} label maps hold values such as "
            f"{', '.join(map(str, odd[:4]))} between those of structures, {CAUSE}; "
            "medseg doctor names the files"
        )


def _in_threads(
    function: Callable[[Path], T],
    paths: Sequence[Path],
    label: str,
    known: DatasetOverrides,
) -> list[T]:
    """The function of each path, with progress; geometry is not what is asked here."""
    from medseg.io import GeometryWarning

    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        warnings.simplefilter("ignore", GeometryWarning)
        results = pool.map(function, paths)
        return list(known.progress.track(results, label=label, total=len(paths)))


def _content_of(path: Path) -> MapContent | InputError:
    from medseg.reading import read_named_labels

    try:
        labels = read_named_labels(path, allow_shear=True)
    except InputError as error:
        return error
    voxels = labels.label_map.voxels
    noise = noise_in(voxels, lossy=path.suffix.lower() in LOSSY)
    values = tuple(value for value in values_in(voxels) if value not in noise)
    return MapContent(values, labels.names, noise)


def _channel_counts(
    images: Sequence[tuple[Path, ...]], known: DatasetOverrides
) -> list[int]:
    """Channels of every picture, or of the first volume that can be read."""
    files = [paths[0] for paths in images]
    if files and _is_picture(files[0]):
        return _in_threads(_count_or_zero, files, "Reading images", known)
    return [next((count for count in map(_count_or_zero, files) if count), 0)]


def _count_or_zero(path: Path) -> int:
    from medseg.reading import read_volume

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
