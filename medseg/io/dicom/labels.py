"""Segmentations and structure sets of a tree as label maps on their images' grids."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from medseg.errors import InputError
from medseg.geometry import Grid
from medseg.io.dicom.frame import Kind
from medseg.io.dicom.segmentation import read_segmentation
from medseg.io.dicom.series import Series
from medseg.io.dicom.structures import read_structures
from medseg.volume import LabelMap


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
        names: Name of each value.
        image: Name of the image; empty where the image is not at hand.
    """

    label_map: LabelMap
    names: dict[int, str]
    image: str


def read_labels(
    path: Path, kind: Kind, images: Mapping[str, LabelledImage]
) -> NamedLabels:
    """The labels of one segmentation object or structure set.

    Args:
        path: The file.
        kind: Which of the two it is.
        images: The images at hand, by SeriesInstanceUID. A segmentation whose image
            is not among them is put on a grid of its own.

    Raises:
        InputError: It is damaged, segments overlap, or a structure set's image is
            not at hand.
    """
    if kind is Kind.SEGMENTATION:
        segmentation = read_segmentation(path)
        image = images.get(segmentation.referenced_series)
        labels = segmentation.label_map(image.grid if image else None)
        return NamedLabels(labels, segmentation.names, image.name if image else "")
    structures = read_structures(path)
    found = [images[uid] for uid in structures.referenced_series if uid in images]
    if not found:
        raise InputError(
            f"{path}: the image series that it was drawn on is not here; convert them "
            "together"
        )
    names = {n: s.name for n, s in enumerate(structures.structures, start=1)}
    labels = structures.label_map(found[0].series, found[0].grid)
    return NamedLabels(labels, names, found[0].name)
