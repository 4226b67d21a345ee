"""Segmentations and structure sets of a tree as label maps on their images' grids."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg.errors import InputError
from medseg.io.dicom.frame import Correction, Kind
from medseg.io.dicom.label_objects.references import LabelledImage
from medseg.io.dicom.label_objects.segmentation import read_segmentation, segment_names
from medseg.io.dicom.label_objects.structure_areas import lie_on_slices
from medseg.io.dicom.label_objects.structure_choice import StructureChoice
from medseg.io.dicom.label_objects.structure_masks import structure_labels
from medseg.io.dicom.label_objects.structures import read_structures, structure_names
from medseg.volume import LabelMap


class UnwantedError(InputError):
    """A label object holds none of the structures that were asked for."""


@dataclass(frozen=True)
class ImageLabels:
    """A label map, what its values mean, and the image it belongs to.

    Attributes:
        label_map: One value per voxel.
        names: Name of each value that the object has, whether in a voxel or not.
        image: Name of the image; empty where the image is not at hand.
        others: Names of structures that were not wanted.
        corrections: What was cut off, moved, guessed or left out.
    """

    label_map: LabelMap
    names: dict[int, str]
    image: str
    others: tuple[str, ...]
    corrections: tuple[Correction, ...] = ()


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
    images: Sequence[LabelledImage],
    choice: StructureChoice,
) -> ImageLabels:
    """The labels of one segmentation object or structure set.

    Args:
        path: The file.
        kind: Which of the two it is.
        images: The images at hand. A segmentation whose image is not among them is
            put on a grid of its own.
        choice: Which structures are wanted, with which values.

    Raises:
        InputError: It is damaged, none of its structures is wanted, some overlap, or
            a structure set's image is not at hand.
    """
    read = _segments if kind is Kind.SEGMENTATION else _structures
    return read(path, images, choice)


def _segments(
    path: Path, images: Sequence[LabelledImage], choice: StructureChoice
) -> ImageLabels:
    segmentation = read_segmentation(path)
    named, others = _chosen(segmentation.names.values(), choice, path)
    told: list[Correction] = []
    image = segmentation.references.find(
        images, path=path, fits=segmentation.lies_on, corrections=told
    )
    labels = segmentation.label_map(
        image.grid if image else None, choice=choice, corrections=told
    )
    return ImageLabels(labels, named, image.name if image else "", others, tuple(told))


def _structures(
    path: Path, images: Sequence[LabelledImage], choice: StructureChoice
) -> ImageLabels:
    structures = read_structures(path)
    named, others = _chosen([s.name for s in structures.structures], choice, path)
    told: list[Correction] = []
    image = structures.references.find(
        images,
        path=path,
        fits=lambda series: lie_on_slices(structures.structures, series),
        corrections=told,
    )
    if image is None:
        raise InputError(
            f"{path}: the image series that it was drawn on is not here, and no image "
            "here has its slices, or its frame of reference and planes; convert them "
            "together"
        )
    labels = structure_labels(
        structures, image.series, image.grid, choice=choice, corrections=told
    )
    return ImageLabels(labels, named, image.name, others, tuple(told))


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
