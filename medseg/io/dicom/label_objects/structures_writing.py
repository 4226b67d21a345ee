"""Label maps as DICOM structure sets, read back and compared before they count.

No kept library writes RTSTRUCT, so the modules of PS3.3 A.19 are filled here, with
pydicom.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np

from medseg import __version__
from medseg.errors import GeometryError, LabelError, OutputError
from medseg.files import atomic_write
from medseg.io.dicom.elements import DicomDataset, quiet
from medseg.io.dicom.frame import Frame
from medseg.io.dicom.label_objects.contours import contours_of
from medseg.io.dicom.label_objects.object_headers import (
    Algorithm,
    character_set,
    series_description,
    source_headers,
)
from medseg.io.dicom.label_objects.planes import plane_affine, planes_of
from medseg.io.dicom.label_objects.segment_codes import Segment
from medseg.io.dicom.label_objects.segmentation_writing import Written
from medseg.io.dicom.label_objects.structure_masks import structure_masks
from medseg.io.dicom.label_objects.structures import read_structures
from medseg.io.dicom.series import Series
from medseg.io.dicom.stack import stack_of
from medseg.volume import LabelMap

_SOP_CLASS = "1.2.840.10008.5.1.4.1.1.481.3"
_COPIED = (
    "SpecificCharacterSet",
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
    "FrameOfReferenceUID",
    "PositionReferenceIndicator",
)


def write_structures(
    path: Path,
    label_map: LabelMap,
    series: Series,
    *,
    segments: Sequence[Segment],
    algorithm: Algorithm | None = None,
) -> Written:
    """Writes labels as closed contours on the slices of a series.

    Args:
        path: Where to; the file appears only when what was read back is equal.
        label_map: Numbers of segments on any grid.
        series: The image that was segmented, one file per slice.
        segments: Name and colour of each label.
        algorithm: What made the labels.

    Raises:
        InputError: The series lacks what a structure set needs.
        LabelError: A label has no description, or there is nothing to write.
        OutputError: It cannot be written, or what was read back differs.
    """
    frames = stack_of(series.frames).frames
    if len({frame.path for frame in frames}) != len(frames):
        raise GeometryError(
            f"{series}: a structure set refers to one file per slice; write a "
            "segmentation object instead"
        )
    planes = planes_of(label_map.voxels, label_map.affine, frames)
    found = {int(value) for value in np.unique(planes) if value}
    if missing := sorted(found - {segment.number for segment in segments}):
        raise LabelError(f"{path}: labels {missing} have no description")
    if not found:
        raise LabelError(f"{path}: no label lies on the slices of the series")
    used = [segment for segment in segments if segment.number in found]
    with quiet():
        dataset = _build(planes, frames, used, algorithm or Algorithm())
        with atomic_write(path) as temporary:
            dataset.save_as(temporary, enforce_file_format=True)
            _compare(temporary, planes, series, used, path)
    counts = {s.name: int((planes == s.number).sum()) for s in used}
    return Written(path, len(frames), counts)


def _build(
    planes: np.ndarray,
    frames: Sequence[Frame],
    segments: Sequence[Segment],
    algorithm: Algorithm,
) -> DicomDataset:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

    sources = source_headers(frames)
    dataset = Dataset()
    for keyword in _COPIED:
        if keyword in sources[0]:
            dataset[keyword] = sources[0][keyword]
    texts = [algorithm.name, *(segment.name for segment in segments)]
    if (charset := character_set(texts, sources[0])) is not None:
        dataset.SpecificCharacterSet = charset
    now = datetime.now().astimezone()
    dataset.SOPClassUID = _SOP_CLASS
    dataset.SOPInstanceUID = generate_uid(prefix=None)
    dataset.SeriesInstanceUID = generate_uid(prefix=None)
    dataset.Modality = "RTSTRUCT"
    dataset.Manufacturer = "medseg"
    dataset.ManufacturerModelName = "medseg"
    dataset.SoftwareVersions = __version__
    dataset.SeriesNumber = 2000
    dataset.SeriesDescription = series_description(algorithm, "structures")
    dataset.InstanceNumber = 1
    dataset.OperatorsName = None
    dataset.StructureSetLabel = "SEGMENTATION"
    dataset.StructureSetDate = now.strftime("%Y%m%d")
    dataset.StructureSetTime = now.strftime("%H%M%S")
    dataset.ApprovalStatus = "UNAPPROVED"
    dataset.ReferencedFrameOfReferenceSequence = [_references(sources)]
    frame_uid = sources[0].FrameOfReferenceUID
    dataset.StructureSetROISequence = [
        _roi(segment, frame_uid, algorithm) for segment in segments
    ]
    dataset.ROIContourSequence = [
        _contours(segment, planes, frames, sources) for segment in segments
    ]
    dataset.RTROIObservationsSequence = [_observation(s) for s in segments]
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(_SOP_CLASS)
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta = meta
    return dataset


def _references(sources: Sequence[DicomDataset]) -> DicomDataset:
    from pydicom.dataset import Dataset

    series = Dataset()
    series.SeriesInstanceUID = sources[0].SeriesInstanceUID
    series.ContourImageSequence = [_reference(source) for source in sources]
    study = Dataset()
    study.ReferencedSOPClassUID = "1.2.840.10008.3.1.2.3.1"
    study.ReferencedSOPInstanceUID = sources[0].StudyInstanceUID
    study.RTReferencedSeriesSequence = [series]
    frame = Dataset()
    frame.FrameOfReferenceUID = sources[0].FrameOfReferenceUID
    frame.RTReferencedStudySequence = [study]
    return frame


def _reference(source: DicomDataset) -> DicomDataset:
    from pydicom.dataset import Dataset

    item = Dataset()
    item.ReferencedSOPClassUID = source.SOPClassUID
    item.ReferencedSOPInstanceUID = source.SOPInstanceUID
    return item


def _roi(segment: Segment, frame_uid: str, algorithm: Algorithm) -> DicomDataset:
    from pydicom.dataset import Dataset

    item = Dataset()
    item.ROINumber = segment.number
    item.ReferencedFrameOfReferenceUID = frame_uid
    item.ROIName = segment.name[:64]
    item.ROIGenerationAlgorithm = "MANUAL" if algorithm.is_manual else "AUTOMATIC"
    item.ROIGenerationDescription = f"{algorithm.name} {algorithm.version}"[:64]
    return item


def _contours(
    segment: Segment,
    planes: np.ndarray,
    frames: Sequence[Frame],
    sources: Sequence[DicomDataset],
) -> DicomDataset:
    from pydicom.dataset import Dataset

    item = Dataset()
    item.ReferencedROINumber = segment.number
    item.ROIDisplayColor = list(segment.color)
    item.ContourSequence = []
    for plane, frame, source in zip(planes, frames, sources, strict=True):
        to_world = plane_affine(frame)
        for points in contours_of(plane == segment.number):
            world = points @ to_world[:3, :2].T + to_world[:3, 3]
            contour = Dataset()
            contour.ContourImageSequence = [_reference(source)]
            contour.ContourGeometricType = "CLOSED_PLANAR"
            contour.NumberOfContourPoints = len(world)
            contour.ContourData = [f"{value:.8g}" for value in world.ravel()]
            item.ContourSequence.append(contour)
    return item


def _observation(segment: Segment) -> DicomDataset:
    from pydicom.dataset import Dataset

    item = Dataset()
    item.ObservationNumber = segment.number
    item.ReferencedROINumber = segment.number
    item.RTROIInterpretedType = ""
    item.ROIInterpreter = None
    return item


def _compare(
    written: Path,
    planes: np.ndarray,
    series: Series,
    segments: Sequence[Segment],
    path: Path,
) -> None:
    """Reads the object, fills its contours and compares every pixel."""
    masks = structure_masks(read_structures(written), series)
    by_number = dict(
        zip(sorted(s.number for s in segments), masks.values(), strict=True)
    )
    for segment in segments:
        differing = int((by_number[segment.number] != (planes == segment.number)).sum())
        if differing:
            raise OutputError(
                f"{path}: structure {segment.name!r} read back differs in {differing} "
                "pixels from what was written; nothing was kept"
            )
