"""DICOM segmentation objects (SEG) as label maps."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from medseg.errors import GeometryError, InputError, LabelError, UnreadableFileError
from medseg.geometry import Grid
from medseg.io.bytestream import require_memory
from medseg.io.dicom.decoding import decoded
from medseg.io.dicom.elements import DicomDataset, number_of, quiet, text_of
from medseg.io.dicom.frame import Correction, Frame
from medseg.io.dicom.header import frames_of_object, read_header
from medseg.io.dicom.label_objects.planes import (
    PlaneStep,
    empty_planes,
    grid_of,
    is_among_slices,
    own_thickness,
    plane_step,
    slice_distance,
)
from medseg.io.dicom.label_objects.references import ImageReferences
from medseg.io.dicom.label_objects.structure_choice import StructureChoice
from medseg.io.dicom.series import Series
from medseg.io.dicom.stack import Stack, group_by_place, stack_of
from medseg.volume import LabelMap

_HALF = 0.5


@dataclass(frozen=True)
class Segmentation:
    """A segmentation object: planes of segments in the patient.

    Attributes:
        path: The file.
        names: Label of each segment, by its number.
        references: What it says about the image that was segmented.
        frames: One for each stored plane.
        segment_numbers: Segment of each plane; 0 where a plane holds numbers of
            segments as values (LABELMAP).
        planes: Shape (n, rows, columns): 0 and 1, numbers of segments, or shares of
            `max_fractional`.
        max_fractional: Stored value that means 1; 1 for binary planes.
        spacing_mm: SpacingBetweenSlices, or 0.
        thickness_mm: SliceThickness, or 0.
    """

    path: Path
    names: dict[int, str]
    references: ImageReferences
    frames: tuple[Frame, ...]
    segment_numbers: tuple[int, ...]
    planes: np.ndarray
    max_fractional: int
    spacing_mm: float
    thickness_mm: float

    @cached_property
    def stack(self) -> Stack:
        """The distinct places of the planes, in order."""
        return stack_of([place[0] for place in group_by_place(self.frames)])

    @cached_property
    def step(self) -> PlaneStep:
        """How far apart the planes are, stored ones and empty ones between them.

        Raises:
            GeometryError: Neither the planes nor the header say it.
        """
        return plane_step(
            self.stack,
            spacing=self.spacing_mm,
            thickness=self.thickness_mm,
            path=self.path,
        )

    def grid(self) -> Grid:
        """The smallest even grid that holds all stored planes.

        Planes without any segment are usually not stored, so this may be smaller
        than the image's grid. The grid is sheared where the planes are.

        Raises:
            GeometryError: The planes are not evenly spaced, or nothing says how far
                apart they are.
        """
        first, step = self.stack.frames[0], self.step.mm
        count = (
            int(np.rint((self.stack.heights[-1] - self.stack.heights[0]) / step)) + 1
        )
        if not self.stack.divides_by(step):
            raise GeometryError(
                f"{self.path}: planes {self.stack.gaps.min():.4g} to "
                f"{self.stack.gaps.max():.4g} mm apart; read it together with the "
                "series that it belongs to"
            )
        affine = self.stack.affine(thickness=step)
        if len(self.stack.frames) > 1:
            affine[:3, 2] *= (len(self.stack.frames) - 1) / (count - 1)
        return Grid((first.columns, first.rows, count), affine)

    def label_map(
        self,
        grid: Grid | None = None,
        *,
        choice: StructureChoice | None = None,
        corrections: list[Correction] | None = None,
    ) -> LabelMap:
        """One label per voxel: the numbers of the segments, or values of a choice.

        A plane that lies on a slice of the grid is as thick as the grid's slices,
        however far the next stored plane is.

        Args:
            grid: Where to put them, such as the image's grid; None takes `grid()`.
            choice: Which segments are wanted, with which values.
            corrections: Told what was guessed.

        Raises:
            LabelError: Segments overlap, so that one label per voxel cannot say it,
                and the choice does not say which one counts.
            GeometryError: No grid is given and the planes are not evenly spaced.
        """
        places = group_by_place(self.frames)
        planes = self._combined(places, choice)
        frames = [place[0] for place in places]
        if grid is None:
            target, reach = self.grid(), self.step.mm
            if corrections is not None and self.step.remark:
                corrections.append(Correction("distance", self.step.remark))
        else:
            target = grid
            reach, empty = self._on_slices_of(grid)
            frames = [*frames, *empty]
            planes = np.pad(planes, [(0, len(empty)), (0, 0), (0, 0)])
        voxels = grid_of(planes, frames, target, reach_mm=reach * 0.51)
        return LabelMap(voxels, target.affine)

    def lies_on(self, series: Series) -> bool:
        """Whether every stored plane is a slice of a series."""
        return is_among_slices(self.stack, series)

    def _on_slices_of(self, grid: Grid) -> tuple[float, list[Frame]]:
        """Thickness of the planes on a grid, in mm, and the planes that are empty."""
        gap = slice_distance(grid, self.stack.frames[0].normal)
        own = own_thickness(
            self.stack, spacing=self.spacing_mm, thickness=self.thickness_mm
        )
        if gap is None:
            return self.step.mm, []
        if own is not None and abs(own - gap) > 0.1 * gap:
            return own, []
        return gap, empty_planes(self.stack, grid, gap)

    def mask_of(self, number: int) -> np.ndarray:
        """Share of one segment at each distinct place, (n, rows, columns), 0 to 1."""
        places = group_by_place(self.frames)
        index = {frame: n for n, frame in enumerate(self.frames)}
        result = np.zeros((len(places), *self.planes.shape[1:]), dtype=np.float32)
        for n, place in enumerate(places):
            for frame in place:
                plane = index[frame]
                if self.segment_numbers[plane] == number:
                    result[n] = self.planes[plane] / self.max_fractional
                elif self.segment_numbers[plane] == 0:
                    result[n] = self.planes[plane] == number
        return result

    def _combined(
        self, places: list[list[Frame]], choice: StructureChoice | None
    ) -> np.ndarray:
        """Values of segments at each distinct place, (n, rows, columns)."""
        index = {frame: n for n, frame in enumerate(self.frames)}
        values = {
            number: choice.value_of(name) if choice else number
            for number, name in self.names.items()
        }
        highest = max(values.values(), default=1)
        dtype = np.uint8 if highest < 256 else np.uint16
        result = np.zeros((len(places), *self.planes.shape[1:]), dtype=dtype)
        for n, place in enumerate(places):
            planes = [index[frame] for frame in place]
            planes.sort(key=lambda p: values.get(self.segment_numbers[p], 0))
            for plane in planes:
                self._add(result[n], plane, values, choice)
        return result

    def _add(
        self,
        result: np.ndarray,
        plane: int,
        values: dict[int, int],
        choice: StructureChoice | None,
    ) -> None:
        """Puts a stored plane's segment, or segments, into the result's plane."""
        number, pixels = self.segment_numbers[plane], self.planes[plane]
        if number == 0:
            for stored, value in values.items():
                result[pixels == stored] = value
            return
        if number not in values:
            raise LabelError(f"{self.path}: a plane of segment {number}, not described")
        inside = pixels > self.max_fractional * _HALF
        if not (value := values[number]):
            return
        if choice is not None:
            inside &= result != value  # two segments of one structure
        if choice is not None and choice.first_wins:
            inside &= result == 0
        else:
            self._require_free(result[inside], number, values)
        result[inside] = value

    def _require_free(
        self, taken: np.ndarray, number: int, values: dict[int, int]
    ) -> None:
        if taken.any():
            present = set(np.unique(taken).tolist()) - {0}
            others = [self.names[n] for n, v in values.items() if v in present]
            raise LabelError(
                f"{self.path}: segment {self.names[number]!r} overlaps {others} in "
                f"{int((taken > 0).sum())} voxels of a plane; one label per voxel "
                "cannot hold that; say by --structures which one counts"
            )


def read_segmentation(path: Path) -> Segmentation:
    """The segmentation object in a file.

    Raises:
        InputError: It is no segmentation, damaged, or lies nowhere in a patient.
    """
    dataset, offset = read_header(path, wanted=())
    with quiet():
        if text_of(dataset, "Modality") != "SEG" or "SegmentSequence" not in dataset:
            raise InputError(f"{path}: not a DICOM segmentation object")
        try:
            return _parse(dataset, path, offset)
        except InputError:
            raise
        except Exception as error:  # elements that cannot be converted
            raise UnreadableFileError(
                f"{path}: the segmentation is damaged ({type(error).__name__})"
            ) from error


def segment_names(path: Path) -> tuple[str, ...]:
    """Labels of all segments, without reading any plane.

    Raises:
        InputError: The file cannot be read.
    """
    dataset, _ = read_header(path, wanted=())
    with quiet():
        try:
            return tuple(_names(dataset).values())
        except Exception as error:  # elements that cannot be converted
            raise UnreadableFileError(f"{path}: the segmentation is damaged") from error


def _parse(dataset: DicomDataset, path: Path, offset: int) -> Segmentation:
    frames = frames_of_object(dataset, path, offset)
    if any(frame.position is None for frame in frames) or not frames:
        raise InputError(f"{path}: planes without a position in the patient")
    kind = text_of(dataset, "SegmentationType")
    groups = dataset.PerFrameFunctionalGroupsSequence
    shared = dataset.SharedFunctionalGroupsSequence[0]
    numbers = tuple(
        0 if kind == "LABELMAP" else _segment_number(group, shared) for group in groups
    )
    measures = [
        item
        for place in (shared, *groups)
        for item in place.get("PixelMeasuresSequence") or []
    ]
    fractional = int(number_of(dataset, "MaximumFractionalValue", 1))
    return Segmentation(
        path=path,
        names=_names(dataset),
        references=_references(dataset, groups),
        frames=frames,
        segment_numbers=numbers,
        planes=_planes(dataset, path, len(frames)),
        max_fractional=fractional if kind == "FRACTIONAL" else 1,
        spacing_mm=_common(measures, "SpacingBetweenSlices"),
        thickness_mm=_common(measures, "SliceThickness"),
    )


def _names(dataset: DicomDataset) -> dict[int, str]:
    """Label of each segment; number 0, which a LABELMAP describes, is background."""
    found = {int(s.SegmentNumber): str(s.SegmentLabel) for s in dataset.SegmentSequence}
    return {number: name for number, name in found.items() if number > 0}


def _segment_number(group: DicomDataset, shared: DicomDataset) -> int:
    for place in (group, shared):
        if place.get("SegmentIdentificationSequence"):
            return int(place.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
    raise KeyError("SegmentIdentificationSequence")


def _common(measures: list[DicomDataset], keyword: str) -> float:
    """The size that all planes have, in mm; 0 where none or several are given.

    The sign of SpacingBetweenSlices says in which order slices are stored.
    """
    found = {abs(number_of(item, keyword, 0.0)) for item in measures} - {0.0}
    return found.pop() if len(found) == 1 else 0.0


def _references(
    dataset: DicomDataset, groups: Iterable[DicomDataset]
) -> ImageReferences:
    series = dataset.get("ReferencedSeriesSequence") or []
    instances = [i for s in series for i in s.get("ReferencedInstanceSequence") or []]
    instances += [
        image
        for group in groups
        for derived in group.get("DerivationImageSequence") or []
        for image in derived.get("SourceImageSequence") or []
    ]
    return ImageReferences.of(
        series=[text_of(item, "SeriesInstanceUID") for item in series[:1]],
        instances=[text_of(item, "ReferencedSOPInstanceUID") for item in instances],
        frames_of_reference=[text_of(dataset, "FrameOfReferenceUID")],
        patient=text_of(dataset, "PatientID"),
    )


def _planes(dataset: DicomDataset, path: Path, count: int) -> np.ndarray:
    shape = (count, int(dataset.Rows), int(dataset.Columns))
    require_memory(2 * int(np.prod(shape)), path)
    return decoded(path, what="planes").reshape(shape)
