"""Structure sets as planning systems write them, well or badly, on a small CT."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from dicom_phantom import ORIENTATIONS, write_series
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from medseg.io.dicom import Series, find_series

RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"


@dataclass(frozen=True)
class Plan:
    """A CT of ten slices, 2.5 mm apart, and its pixels' places in the world."""

    folder: Path
    row: np.ndarray
    column: np.ndarray
    slices: list[Dataset]

    @property
    def series(self) -> Series:
        (series,) = find_series(self.folder).volumes
        return series

    def outline(self, pixels: Sequence[tuple[float, float]], k: float) -> np.ndarray:
        """(column, row) pixels of slice k in the world, (points, 3)."""
        origin = np.array([-10.0, -20.0, 30.0])
        normal = np.cross(self.row, self.column)
        steps = np.asarray(pixels, dtype=float)
        spacing = np.asarray(self.slices[0].PixelSpacing, dtype=float)[::-1]
        return (
            origin
            + steps[:, :1] * spacing[0] * self.row
            + steps[:, 1:] * spacing[1] * self.column
            + normal * 2.5 * k
        )


def plan(folder: Path, plane: str = "axial", **elements: Any) -> Plan:
    """A CT of 24 columns, 20 rows and 10 slices, all zero but for a ramp."""
    stored = np.zeros((24, 20, 10), np.int16) + np.arange(10, dtype=np.int16)
    paths = write_series(folder, stored, orientation=ORIENTATIONS[plane], **elements)
    row, column = np.reshape(ORIENTATIONS[plane], (2, 3))
    return Plan(folder, row, column, [dcmread(path) for path in paths])


def box(
    left: float, right: float, top: float, bottom: float
) -> list[tuple[float, float]]:
    """Corners of a rectangle in pixels."""
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def write_structures_of(
    plan: Plan,
    rois: dict[str, list[np.ndarray]],
    *,
    kind: str = "CLOSED_PLANAR",
    series_uid: str | None = None,
    names_slices: bool = False,
    frame_uid: str | None = None,
) -> Path:
    """Writes outlines in the world as one structure set beside the CT.

    Args:
        plan: The CT.
        rois: Outlines by name.
        kind: ContourGeometricType.
        series_uid: Of the series referred to; the CT's unless given, none if empty.
        names_slices: Whether contours name the CT's slices.
        frame_uid: FrameOfReferenceUID; the CT's unless given.
    """
    first = plan.slices[0]
    frame_uid = first.FrameOfReferenceUID if frame_uid is None else frame_uid
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = RTSTRUCT
    uid = generate_uid()
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = uid
    dataset.Modality = "RTSTRUCT"
    dataset.PatientID, dataset.StudyInstanceUID = first.PatientID, "1.2.3"
    dataset.SeriesInstanceUID = generate_uid()
    dataset.ReferencedFrameOfReferenceSequence = [
        _reference(
            first.SeriesInstanceUID if series_uid is None else series_uid, frame_uid
        )
    ]
    dataset.StructureSetROISequence = []
    dataset.ROIContourSequence = []
    for number, (name, outlines) in enumerate(rois.items(), start=1):
        roi = Dataset()
        roi.ROINumber, roi.ROIName = number, name
        roi.ReferencedFrameOfReferenceUID = frame_uid
        dataset.StructureSetROISequence.append(roi)
        item = Dataset()
        item.ReferencedROINumber = number
        slices = plan.slices if names_slices else []
        item.ContourSequence = [_contour(points, kind, slices) for points in outlines]
        dataset.ROIContourSequence.append(item)
    path = plan.folder / "rs.dcm"
    dataset.save_as(path, enforce_file_format=True)
    return path


def _reference(series_uid: str, frame_uid: str) -> Dataset:
    series = Dataset()
    series.SeriesInstanceUID = series_uid
    study = Dataset()
    study.RTReferencedSeriesSequence = [series] if series_uid else []
    frame = Dataset()
    frame.FrameOfReferenceUID = frame_uid
    frame.RTReferencedStudySequence = [study]
    return frame


def _contour(points: np.ndarray, kind: str, slices: Sequence[Dataset]) -> Dataset:
    item = Dataset()
    item.ContourGeometricType = kind
    item.NumberOfContourPoints = len(points)
    item.ContourData = [f"{value:.4f}" for value in points.ravel()]
    if slices:
        heights = [np.asarray(s.ImagePositionPatient, float) for s in slices]
        nearest = min(
            range(len(slices)), key=lambda n: np.linalg.norm(heights[n] - points[0])
        )
        image = Dataset()
        image.ReferencedSOPInstanceUID = slices[nearest].SOPInstanceUID
        item.ContourImageSequence = [image]
    return item
