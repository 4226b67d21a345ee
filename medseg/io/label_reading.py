"""Label maps from files, with the names that some formats give their values.

3D Slicer's ``.seg.nrrd``, DICOM segmentation objects and folders of one mask per
structure name what they hold. A scheme that knows these names decides the values, so
that *tumour* is one structure though it be 1 in one file and 2 in another.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from medseg.errors import LabelError, MissingFileError
from medseg.geometry import Grid
from medseg.io.formats import Format, find_scans, format_of, is_scan, scan_stem
from medseg.io.reading import read_one
from medseg.io.slicer_segments import labels_of_layers
from medseg.labels import LabelScheme
from medseg.volume import LabelMap, Volume

WHOLE_TOLERANCE = 1e-4
"""How far from a whole number a label may be that was stored as a float."""


@dataclass(frozen=True)
class NamedLabels:
    """A label map, and what its file says of its values."""

    label_map: LabelMap
    names: dict[str, int] = field(default_factory=dict)
    """Value of each structure that the file names; empty where it names none."""
    stored_as: str = ""
    """Type of the stored voxels."""


def read_label_map(
    path: Path,
    *,
    scheme: LabelScheme | None = None,
    grid: Grid | None = None,
    allow_shear: bool = False,
) -> LabelMap:
    """The label map held by a file, or by a folder of one mask per structure.

    Whole numbers stored as floats are accepted. A DICOM segmentation object lies on
    the smallest grid that holds its planes; the labels are the numbers of its
    segments.

    Args:
        path: File, or folder of masks, each named after its structure.
        scheme: Where the file names its structures and the scheme knows them, their
            values become the scheme's. Of a folder of masks only these are read.
        grid: The scan's. The same voxels in another orientation are turned to it,
            and a picture that stores no place takes it; what lies elsewhere is left.
        allow_shear: Whether a grid with leaning axes is returned as it is.

    Raises:
        InputError: The file cannot be read, has several channels, holds values that
            are no whole numbers or, beside structures that the scheme knows, others
            that it does not.
    """
    labels = read_named_labels(path, scheme=scheme, allow_shear=allow_shear)
    return label_map_of(labels, path, scheme, grid)


def label_map_of(
    labels: NamedLabels, path: Path, scheme: LabelScheme | None, grid: Grid | None
) -> LabelMap:
    """What was read, in a scheme's values and a scan's axes, as `read_label_map` says.

    Raises:
        LabelError: Beside structures that the scheme knows, there are others.
    """
    label_map = _in_values_of(scheme, labels, path)
    if grid is None:
        return label_map
    if _is_placeless(path, label_map, grid):
        return LabelMap(label_map.voxels, grid.affine)
    return label_map.turned_to(grid)


def read_named_labels(
    path: Path, *, scheme: LabelScheme | None = None, allow_shear: bool = False
) -> NamedLabels:
    """The label map in the file's own values, and its own names of them.

    Args:
        path: File, or folder of masks.
        scheme: Which masks of a folder are read.
        allow_shear: Whether a grid with leaning axes is returned as it is.

    Raises:
        InputError: As for `read_label_map`.
    """
    if is_mask_folder(path):
        return read_masks(path, scheme=scheme)
    if format_of(path) is Format.DICOM and path.is_file():
        from medseg.io.dicom.label_objects.segmentation import read_segmentation

        segmentation = read_segmentation(path)
        names = {name: number for number, name in segmentation.names.items()}
        distinct = names if len(names) == len(segmentation.names) else {}
        return NamedLabels(segmentation.label_map(), distinct)
    volume = read_one(path, as_labels=True, allow_shear=allow_shear)
    stored = volume.voxels.dtype.name
    if path.name.lower().endswith((".nrrd", ".nhdr")):
        from medseg.io.itk_header import read_itk_header

        if segments := read_itk_header(path).segments:
            layers = np.stack([whole_numbers(layer, path) for layer in volume.voxels])
            voxels, names = labels_of_layers(layers, segments, path)
            return NamedLabels(LabelMap(voxels, volume.affine), names, stored)
    first = volume.voxels[:1]
    if volume.num_channels > 1 and not np.array_equal(
        volume.voxels, np.broadcast_to(first, volume.voxels.shape)
    ):
        raise LabelError(f"{path}: {_why_not_one_channel(volume)}")
    label_map = LabelMap(whole_numbers(volume.voxels[0], path), volume.affine)
    return NamedLabels(label_map, {}, stored)


def listed_structures(path: Path) -> tuple[str, ...]:
    """The structures that a file lists, whether they have voxels or not; none if none.

    Raises:
        InputError: The file cannot be read.
    """
    if not may_list_structures(path):
        return ()
    if format_of(path) is not Format.DICOM:
        from medseg.io.itk_header import read_itk_header

        return tuple(segment.name for segment in read_itk_header(path).segments)
    from medseg.io.dicom.label_objects.segmentation import segment_names

    return segment_names(path)


def may_list_structures(path: Path) -> bool:
    """Whether a file is of a format that may list its structures."""
    if not path.is_file():
        return False
    named = path.name.lower().endswith((".nrrd", ".nhdr"))
    return named or format_of(path) is Format.DICOM


def is_mask_folder(path: Path) -> bool:
    """Whether a path is a folder of files that are no DICOM: one mask a structure."""
    return path.is_dir() and not is_scan(path)


def mask_names(folder: Path) -> dict[str, Path]:
    """The file of each structure in a folder of masks, sorted by name."""
    return {scan_stem(path): path for path in find_scans(folder)}


def read_masks(folder: Path, *, scheme: LabelScheme | None = None) -> NamedLabels:
    """One label map of a folder of masks, whose voxels above 0 are the structure.

    Args:
        folder: Files named after their structures, on one grid.
        scheme: Which masks are read; all where none of its structures has a file.

    Raises:
        MissingFileError: There is no mask, or none of a structure of the scheme.
        LabelError: Two masks share voxels.
        InputError: A mask cannot be read, or lies on another grid.
    """
    files = _wanted_masks(folder, scheme)
    labels: LabelMap | None = None
    names = dict(zip(files, range(1, len(files) + 1), strict=True))
    for (name, path), value in zip(files.items(), names.values(), strict=True):
        mask = read_named_labels(path).label_map
        if labels is None:
            kind = np.min_scalar_type(len(files))
            labels = LabelMap(np.zeros(mask.voxels.shape, kind), mask.affine)
        labels.grid.require_match(mask.grid, what=f"{path} against the other masks")
        inside = mask.voxels > 0
        if (shared := labels.voxels[inside]).any():
            other = list(names)[int(shared[shared > 0][0]) - 1]
            raise LabelError(
                f"{folder}: masks {other} and {name} share "
                f"{np.count_nonzero(shared)} voxels, and a label map holds one "
                "structure per voxel; subtract one from the other"
            )
        labels.voxels[inside] = value
    assert labels is not None, "a folder without masks is refused"
    return NamedLabels(labels, names)


def whole_numbers(voxels: np.ndarray, path: Path) -> np.ndarray:
    """Whole numbers as integers, in the smallest type where they came as floats.

    Raises:
        LabelError: Some are NaN, infinite or further from a whole number than
            rounding explains.
    """
    if voxels.dtype == np.bool_:
        return voxels.astype(np.uint8)
    if np.issubdtype(voxels.dtype, np.integer):
        return voxels
    finite = np.isfinite(voxels)
    if not finite.all():
        raise LabelError(
            f"{path}: {np.count_nonzero(~finite)} of {voxels.size} voxels are NaN or "
            "infinite, expected whole numbers; set them to the background's value if "
            "they lie outside of what was labelled"
        )
    near = np.rint(voxels)
    odd = np.abs(voxels - near) > WHOLE_TOLERANCE
    if odd.any():
        raise LabelError(
            f"{path}: label map holds {voxels[odd][:3].tolist()}, expected whole "
            f"numbers ({np.count_nonzero(odd)} of {voxels.size} voxels are none); is "
            "it an image, a probability map, or a label map resampled with "
            "interpolation?"
        )
    limits = (int(near.min()), int(near.max()))
    kind = np.promote_types(*map(np.min_scalar_type, limits))
    return np.asarray(near.astype(kind))


def plain_name(name: str) -> str:
    """A structure's name without case, spaces and punctuation, for comparison."""
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def _is_placeless(path: Path, label_map: LabelMap, grid: Grid) -> bool:
    """Whether a picture, or the picture it belongs to, stores no voxel size."""
    unknown = [np.array_equal(g.affine, np.eye(4)) for g in (label_map.grid, grid)]
    return (
        path.is_file()
        and format_of(path) is Format.PICTURE
        and label_map.grid.shape == grid.shape
        and any(unknown)
    )


def _in_values_of(
    scheme: LabelScheme | None, labels: NamedLabels, path: Path
) -> LabelMap:
    """The label map in a scheme's values, where file and scheme share names."""
    if scheme is None or not labels.names or scheme.instances:
        return labels.label_map
    known = {plain_name(name): value for name, value in scheme.names.items()}
    known.setdefault("background", scheme.background)
    table = {
        value: known[plain_name(name)]
        for name, value in labels.names.items()
        if plain_name(name) in known
    }
    if not set(table.values()) - {scheme.background}:
        return labels.label_map  # the scheme speaks of values, not of these names
    voxels = labels.label_map.voxels
    left = {
        n for n, v in labels.names.items() if v not in table and (voxels == v).any()
    }
    if left:
        raise LabelError(
            f"{path}: holds {', '.join(sorted(left))}, absent from the scheme "
            f"({scheme.describe()}); add them to the scheme or take them out"
        )
    table.setdefault(0, scheme.background)
    return LabelMap(_replaced(voxels, table), labels.label_map.affine)


def _replaced(voxels: np.ndarray, table: Mapping[int, int]) -> np.ndarray:
    """Voxels with each value of a table replaced; others are kept."""
    if all(old == new for old, new in table.items()):
        return voxels
    values = [*table.values(), int(voxels.min()), int(voxels.max())]
    kind = np.promote_types(*map(np.min_scalar_type, (min(values), max(values))))
    result = voxels.astype(kind)
    for old, new in table.items():
        result[voxels == old] = new
    return result


def _wanted_masks(folder: Path, scheme: LabelScheme | None) -> dict[str, Path]:
    files = mask_names(folder)
    if not files:
        raise MissingFileError(f"{folder}: no mask is in it")
    if scheme is None:
        return files
    by_name = {plain_name(name): path for name, path in files.items()}
    wanted = {name: by_name.get(plain_name(name)) for name in scheme.names}
    found = {name: path for name, path in wanted.items() if path is not None}
    if not found:
        return files
    if lost := sorted(set(wanted) - set(found)):
        raise MissingFileError(
            f"{folder}: no mask of {', '.join(lost)}; add an empty one where the "
            "structure is absent"
        )
    return found


def _why_not_one_channel(volume: Volume) -> str:
    """What a file with several channels is, if no label map."""
    voxels, count = volume.voxels, volume.num_channels
    if ((voxels == 0) | (voxels == voxels.max())).all() and (
        np.count_nonzero(voxels, axis=0).max() <= 1
    ):
        return (
            f"one-hot: {count} channels of 0 and {voxels.max():g}, at most one of "
            "them set, expected one label per voxel; store the channels' numbers "
            "(argmax)"
        )
    if count in (3, 4) and voxels.dtype == np.uint8:
        colours = len(np.unique(voxels.reshape(count, -1).T, axis=0))
        return (
            f"a colour mask: {count} channels with {colours} colours, expected one "
            "number per pixel; store each structure's number, or a palette picture"
        )
    return (
        f"label map has {count} different channels, expected 1; is it an image? "
        "Overlapping structures become regions of the scheme"
    )
