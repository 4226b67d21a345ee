"""DICOM segmentation objects (SEG) as label maps."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from medseg.errors import GeometryError, InputError, LabelError, UnreadableFileError
from medseg.geometry import Grid
from medseg.io.bytestream import require_memory
from medseg.io.dicom.decoding import decoded
from medseg.io.dicom.elements import DicomDataset, number_of, quiet, text_of
from medseg.io.dicom.frame import Frame
from medseg.io.dicom.header import frames_of_object, read_header
from medseg.io.dicom.planes import grid_of
from medseg.io.dicom.stack import Stack, group_by_place, stack_of
from medseg.io.dicom.structure_choice import StructureChoice
from medseg.volume import LabelMap

_HALF = 0.5
_UNEVEN = 0.05


@dataclass(frozen=True)
class Segmentation:
    """A segmentation object: planes of segments in the patient.

    Attributes:
        path: The file.
        names: Label of each segment, by its number.
        referenced_series: SeriesInstanceUID of the image that was segmented.
        referenced_instances: SOPInstanceUIDs of its slices, where they are named.
        frames: One for each stored plane.
        segment_numbers: Segment of each plane; 0 where a plane holds numbers of
            segments as values (LABELMAP).
        planes: Shape (n, rows, columns): 0 and 1, numbers of segments, or shares of
            `max_fractional`.
        max_fractional: Stored value that means 1; 1 for binary planes.
        spacing_mm: Distance of planes as stored, or 0.
    """

    path: Path
    names: dict[int, str]
    referenced_series: str
    referenced_instances: frozenset[str]
    frames: tuple[Frame, ...]
    segment_numbers: tuple[int, ...]
    planes: np.ndarray
    max_fractional: int
    spacing_mm: float

    @cached_property
    def stack(self) -> Stack:
        """The distinct places of the planes, in order."""
        return stack_of([place[0] for place in group_by_place(self.frames)])

    def grid(self) -> Grid:
        """The smallest even grid that holds all stored planes.

        Planes without any segment are usually not stored, so this may be smaller
        than the image's grid. The grid is sheared where the planes are.

        Raises:
            GeometryError: The planes are not evenly spaced.
        """
        first = self.stack.frames[0]
        step, count = self._step()
        steps = (np.asarray(self.stack.heights) - self.stack.heights[0]) / step
        if np.abs(steps - np.rint(steps)).max() > _UNEVEN:
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
        self, grid: Grid | None = None, *, choice: StructureChoice | None = None
    ) -> LabelMap:
        """One label per voxel: the numbers of the segments, or values of a choice.

        Args:
            grid: Where to put them, such as the image's grid; None takes `grid()`.
            choice: Which segments are wanted, with which values.

        Raises:
            LabelError: Segments overlap, so that one label per voxel cannot say it,
                and the choice does not say which one counts.
            GeometryError: No grid is given and the planes are not evenly spaced.
        """
        step, _ = self._step()
        target = grid or self.grid()
        places = group_by_place(self.frames)
        combined = self._combined(places, choice)
        frames = [place[0] for place in places]
        voxels = grid_of(combined, frames, target, reach_mm=step * 0.51)
        return LabelMap(voxels, target.affine)

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

    def _step(self) -> tuple[float, int]:
        """Distance of planes in mm, and how many of them span the stored ones."""
        if len(self.stack.frames) == 1:
            return self.spacing_mm or 1.0, 1
        gaps = self.stack.gaps
        step = float(gaps.min())
        if 0 < self.spacing_mm <= step * 1.01 and self.stack.tilt < 1e-3:
            step = self.spacing_mm
        span = self.stack.heights[-1] - self.stack.heights[0]
        return step, int(np.rint(span / step)) + 1


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
    measures = shared.get("PixelMeasuresSequence")
    spacing = number_of(measures[0], "SpacingBetweenSlices", 0.0) if measures else 0.0
    fractional = int(number_of(dataset, "MaximumFractionalValue", 1))
    return Segmentation(
        path=path,
        names=_names(dataset),
        referenced_series=_referenced_series(dataset),
        referenced_instances=_referenced_instances(dataset),
        frames=frames,
        segment_numbers=numbers,
        planes=_planes(dataset, path, len(frames)),
        max_fractional=fractional if kind == "FRACTIONAL" else 1,
        spacing_mm=spacing,
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


def _referenced_series(dataset: DicomDataset) -> str:
    references = dataset.get("ReferencedSeriesSequence")
    return text_of(references[0], "SeriesInstanceUID") if references else ""


def _referenced_instances(dataset: DicomDataset) -> frozenset[str]:
    return frozenset(
        text_of(instance, "ReferencedSOPInstanceUID")
        for series in dataset.get("ReferencedSeriesSequence") or []
        for instance in series.get("ReferencedInstanceSequence") or []
    )


def _planes(dataset: DicomDataset, path: Path, count: int) -> np.ndarray:
    shape = (count, int(dataset.Rows), int(dataset.Columns))
    require_memory(2 * int(np.prod(shape)), path)
    return decoded(path, what="planes").reshape(shape)
