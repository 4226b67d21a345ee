"""DICOM structure sets (RTSTRUCT) as label maps on the image they were drawn on."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medseg.errors import GeometryError, InputError, LabelError, UnreadableFileError
from medseg.geometry import Grid
from medseg.io.dicom.contours import fill
from medseg.io.dicom.elements import DicomDataset, quiet, text_of
from medseg.io.dicom.header import read_header
from medseg.io.dicom.planes import grid_of, plane_affine
from medseg.io.dicom.series import Series
from medseg.io.dicom.stack import Stack, stack_of
from medseg.io.dicom.structure_choice import StructureChoice
from medseg.volume import LabelMap

_OFF_PLANE_SHARE = 0.5


@dataclass(frozen=True)
class Structure:
    """One region of interest: a name and its closed planar contours.

    Attributes:
        number: ROINumber.
        name: ROIName.
        contours: Each of shape (points, 3), LPS mm.
    """

    number: int
    name: str
    contours: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class StructureSet:
    """The regions of interest of one object.

    Attributes:
        path: The file.
        referenced_series: SeriesInstanceUIDs of the images that it was drawn on.
        referenced_instances: SOPInstanceUIDs of their slices, where they are named.
        structures: In the order of their numbers; those without area left out.
        left_out: Names of regions that are points or open lines.
    """

    path: Path
    referenced_series: tuple[str, ...]
    referenced_instances: frozenset[str]
    structures: tuple[Structure, ...]
    left_out: tuple[str, ...]

    def masks(self, series: Series) -> dict[str, np.ndarray]:
        """Each structure on the slices of a series, (n, rows, columns), ordered.

        Raises:
            GeometryError: A contour lies on no slice of the series.
        """
        stack = stack_of(series.frames)
        return {s.name: self._mask(s, stack) for s in self.structures}

    def label_map(
        self, series: Series, grid: Grid, *, choice: StructureChoice | None = None
    ) -> LabelMap:
        """One label per voxel: 1, 2, … in the order of `structures`, or as chosen.

        Args:
            series: The images that the contours were drawn on.
            grid: Where to put the labels, such as the grid of the volume read.
            choice: Which structures are wanted, with which values.

        Raises:
            LabelError: Structures overlap, so that one label cannot say it, and the
                choice does not say which one counts.
            GeometryError: A contour lies on no slice of the series.
        """
        stack = stack_of(series.frames)
        wanted = self._wanted(choice)
        first = stack.frames[0]
        combined = np.zeros(
            (len(stack.frames), first.rows, first.columns),
            dtype=np.uint8 if len(self.structures) < 256 else np.uint16,
        )
        for value, structure in wanted:
            mask = self._mask(structure, stack) & (combined != value)
            if choice is not None and choice.first_wins:
                mask &= combined == 0
            elif combined[mask].any():
                taken = int(combined[mask].max())
                other = next(s.name for v, s in wanted if v == taken)
                raise LabelError(
                    f"{self.path}: {structure.name!r} overlaps {other!r}; one label "
                    "per voxel cannot hold that; say by --structures which one counts"
                )
            combined[mask] = value
        reach = max(stack.gap, 1e-3) * 0.51
        voxels = grid_of(combined, stack.frames, grid, reach_mm=reach)
        return LabelMap(voxels, grid.affine)

    def _wanted(self, choice: StructureChoice | None) -> list[tuple[int, Structure]]:
        """Structures with their values, lowest first."""
        if choice is None:
            return list(enumerate(self.structures, start=1))
        valued = [(choice.value_of(s.name), s) for s in self.structures]
        return sorted((pair for pair in valued if pair[0]), key=lambda pair: pair[0])

    def _mask(self, structure: Structure, stack: Stack) -> np.ndarray:
        shape = (stack.frames[0].rows, stack.frames[0].columns)
        planes: dict[int, list[np.ndarray]] = {}
        heights = np.asarray(stack.heights)
        for points in structure.contours:
            height = float((points @ stack.frames[0].normal).mean())
            place = int(np.abs(heights - height).argmin())
            if abs(heights[place] - height) > _OFF_PLANE_SHARE * max(stack.gap, 1.0):
                raise GeometryError(
                    f"{self.path}: a contour of {structure.name!r} lies "
                    f"{abs(heights[place] - height):.3g} mm off every slice"
                )
            to_pixel = np.linalg.inv(plane_affine(stack.frames[place]))
            pixels = points @ to_pixel[:3, :3].T + to_pixel[:3, 3]
            planes.setdefault(place, []).append(pixels[:, :2])
        mask = np.zeros((len(heights), *shape), dtype=np.bool_)
        for place, contours in planes.items():
            mask[place] = fill(contours, shape)
        return mask


def read_structures(path: Path) -> StructureSet:
    """The structure set in a file.

    Raises:
        InputError: It is no structure set, or it is damaged.
    """
    dataset, _ = read_header(path, wanted=())
    with quiet():
        if text_of(dataset, "Modality") != "RTSTRUCT":
            raise InputError(f"{path}: not a DICOM structure set")
        try:
            return _parse(dataset, path)
        except InputError:
            raise
        except Exception as error:  # elements that cannot be converted
            raise UnreadableFileError(
                f"{path}: the structure set is damaged ({type(error).__name__})"
            ) from error


def structure_names(path: Path) -> tuple[str, ...]:
    """Names of all regions of interest that have an area.

    Raises:
        InputError: The file is no structure set, or it is damaged.
    """
    return tuple(structure.name for structure in read_structures(path).structures)


def _parse(dataset: DicomDataset, path: Path) -> StructureSet:
    names = {
        int(roi.ROINumber): text_of(roi, "ROIName")
        for roi in dataset.get("StructureSetROISequence") or []
    }
    structures, left_out = [], []
    for item in dataset.get("ROIContourSequence") or []:
        number = int(item.ReferencedROINumber)
        name = names.get(number) or f"structure {number}"
        contours = _closed_contours(item)
        if contours:
            structures.append(Structure(number, name, contours))
        else:
            left_out.append(name)
    return StructureSet(
        path,
        _referenced(dataset),
        _referenced_instances(dataset),
        _distinct(structures),
        tuple(left_out),
    )


def _closed_contours(item: DicomDataset) -> tuple[np.ndarray, ...]:
    found = []
    for contour in item.get("ContourSequence") or []:
        kind = text_of(contour, "ContourGeometricType")
        if kind not in ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR"):
            continue
        points = np.asarray(contour.ContourData, dtype=np.float64)
        found.append(points.reshape(-1, 3))
    return tuple(found)


def _distinct(structures: list[Structure]) -> tuple[Structure, ...]:
    """Structures in the order of their numbers, equal names told apart by these."""
    ordered = sorted(structures, key=lambda s: s.number)
    names = [s.name for s in ordered]
    return tuple(
        s
        if names.count(s.name) == 1
        else Structure(s.number, f"{s.name} {s.number}", s.contours)
        for s in ordered
    )


def _referenced_instances(dataset: DicomDataset) -> frozenset[str]:
    return frozenset(
        text_of(image, "ReferencedSOPInstanceUID")
        for roi in dataset.get("ROIContourSequence") or []
        for contour in roi.get("ContourSequence") or []
        for image in contour.get("ContourImageSequence") or []
    )


def _referenced(dataset: DicomDataset) -> tuple[str, ...]:
    return tuple(
        text_of(series, "SeriesInstanceUID")
        for frame in dataset.get("ReferencedFrameOfReferenceSequence") or []
        for study in frame.get("RTReferencedStudySequence") or []
        for series in study.get("RTReferencedSeriesSequence") or []
    )
