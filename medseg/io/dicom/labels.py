"""Segmentations and structure sets of a tree as label maps on their images' grids."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg.errors import InputError
from medseg.geometry import Grid
from medseg.io.dicom.frame import Kind
from medseg.io.dicom.segmentation import read_segmentation, segment_names
from medseg.io.dicom.series import Series
from medseg.io.dicom.structure_choice import StructureChoice
from medseg.io.dicom.structures import read_structures, structure_names
from medseg.volume import LabelMap


class UnwantedError(InputError):
    """A label object holds none of the structures that were asked for."""


@dataclass(frozen=True)
class LabelledImage:
    """An image that labels may refer to.

    Attributes:
        name: What its results are called.
        series: Its slices.
        grid: The grid that its volume was given.
    """

    name: str
    series: Series
    grid: Grid


@dataclass(frozen=True)
class NamedLabels:
    """A label map, what its values mean, and the image it belongs to.

    Attributes:
        label_map: One value per voxel.
        names: Name of each value that the object has, whether in a voxel or not.
        image: Name of the image; empty where the image is not at hand.
        others: Names of structures that were not wanted.
    """

    label_map: LabelMap
    names: dict[int, str]
    image: str
    others: tuple[str, ...]


def names_in(path: Path, kind: Kind) -> tuple[str, ...]:
    """What the structures of a label object are called.

    Raises:
        InputError: It is damaged.
    """
    read = segment_names if kind is Kind.SEGMENTATION else structure_names
    return read(path)


def read_labels(
    path: Path,
    kind: Kind,
    images: Mapping[str, Sequence[LabelledImage]],
    choice: StructureChoice,
) -> NamedLabels:
    """The labels of one segmentation object or structure set.

    Args:
        path: The file.
        kind: Which of the two it is.
        images: The images at hand, by SeriesInstanceUID. A segmentation whose image
            is not among them is put on a grid of its own.
        choice: Which structures are wanted, with which values.

    Raises:
        InputError: It is damaged, none of its structures is wanted, some overlap, or
            a structure set's image is not at hand.
    """
    if kind is Kind.SEGMENTATION:
        segmentation = read_segmentation(path)
        named, others = _chosen(segmentation.names.values(), choice, path)
        found = images.get(segmentation.referenced_series, ())
        image = _meant(found, segmentation.referenced_instances, path)
        grid = image.grid if image else None
        labels = segmentation.label_map(grid, choice=choice)
        return NamedLabels(labels, named, image.name if image else "", others)
    structures = read_structures(path)
    named, others = _chosen([s.name for s in structures.structures], choice, path)
    found = [i for uid in structures.referenced_series for i in images.get(uid, ())]
    image = _meant(found, structures.referenced_instances, path)
    if image is None:
        raise InputError(
            f"{path}: the image series that it was drawn on is not here; convert them "
            "together"
        )
    labels = structures.label_map(image.series, image.grid, choice=choice)
    return NamedLabels(labels, named, image.name, others)


def _chosen(
    names: Iterable[str], choice: StructureChoice, path: Path
) -> tuple[dict[int, str], tuple[str, ...]]:
    """Values and names of what is wanted, and the names of what is not."""
    found = list(names)
    values = sorted({choice.value_of(name) for name in found} - {0})
    others = tuple(name for name in found if not choice.value_of(name))
    if not values:
        raise UnwantedError(
            f"{path}: none of the structures that were asked for; it holds "
            f"{', '.join(found[:20]) or 'none'}"
        )
    return {value: choice.names[value - 1] for value in values}, others


def _meant(
    images: Sequence[LabelledImage], instances: frozenset[str], path: Path
) -> LabelledImage | None:
    """The image that labels belong to, of all that share its series.

    Raises:
        InputError: It cannot be told.
    """
    if len(images) <= 1:
        return images[0] if images else None
    meant = [
        image
        for image in images
        if instances & {frame.sop_uid for frame in image.series.frames}
    ]
    if len(meant) == 1:
        return meant[0]
    raise InputError(
        f"{path}: its series holds {len(images)} volumes and it does not say which of "
        "them it belongs to; choose one by --series Part=..."
    )
