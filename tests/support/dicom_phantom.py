"""Small DICOM series whose every voxel and position is known."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

CT = "1.2.840.10008.5.1.4.1.1.2"
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
ORIENTATIONS = {
    "axial": AXIAL,
    "sagittal": (0.0, 1.0, 0.0, 0.0, 0.0, -1.0),
    "coronal": (1.0, 0.0, 0.0, 0.0, 0.0, -1.0),
    "oblique": (0.96, 0.28, 0.0, -0.224, 0.768, -0.6),
}


def voxels(shape: tuple[int, int, int] = (7, 6, 5), seed: int = 0) -> np.ndarray:
    """Stored values of shape (I, J, K)."""
    return np.random.default_rng(seed).integers(0, 2000, shape).astype(np.uint16)


def write_series(
    folder: Path,
    stored: np.ndarray,
    *,
    orientation: Sequence[float] = AXIAL,
    heights: Sequence[float] | None = None,
    tilt: float = 0.0,
    seed: int = 0,
    series_uid: str | None = None,
    study_uid: str = "1.2.3",
    frame_uid: str = "1.2.3.9",
    syntax: str = ExplicitVRLittleEndian,
    **elements: Any,
) -> list[Path]:
    """Writes one file per k, shuffled, and returns the paths in the order of k.

    Args:
        folder: Where to.
        stored: Stored values, shape (I, J, K).
        orientation: ImageOrientationPatient.
        heights: Position along the normal of each slice; 2.5 mm apart by default.
        tilt: Shift along the column direction per mm of height.
        seed: Of the shuffled file names and InstanceNumbers.
        series_uid: SeriesInstanceUID.
        study_uid: StudyInstanceUID.
        frame_uid: FrameOfReferenceUID.
        syntax: Transfer syntax; compressed with pydicom where it is not plain.
        elements: Further elements; a list is one value for each slice.
    """
    folder.mkdir(parents=True, exist_ok=True)
    count = stored.shape[2]
    numbers = np.random.default_rng(seed).permutation(count)
    row, column = np.asarray(orientation[:3]), np.asarray(orientation[3:])
    normal = np.cross(row, column)
    series_uid = series_uid or generate_uid()
    paths = []
    for k in range(count):
        height = 2.5 * k if heights is None else heights[k]
        position = (
            np.array([-10.0, -20.0, 30.0]) + normal * height + column * tilt * height
        )
        dataset = _slice(stored[:, :, k].T, position, orientation, int(numbers[k]))
        dataset.SeriesInstanceUID = series_uid
        dataset.StudyInstanceUID = study_uid
        dataset.FrameOfReferenceUID = frame_uid
        for keyword, value in elements.items():
            chosen = value[k] if isinstance(value, list) else value
            if chosen is None:
                delattr(dataset, keyword)
            else:
                setattr(dataset, keyword, chosen)
        if syntax != ExplicitVRLittleEndian:
            dataset.compress(syntax, generate_instance_uid=False)
        paths.append(folder / f"IM{numbers[k]:03d}")
        dataset.save_as(paths[-1], enforce_file_format=True)
    return paths


def _slice(
    pixels: np.ndarray, position: np.ndarray, orientation: Sequence[float], number: int
) -> Dataset:
    """One file's data set; pixels of shape (rows, columns)."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = CT
    dataset.SOPInstanceUID = generate_uid()
    dataset.file_meta.MediaStorageSOPClassUID = CT
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.Modality = "CT"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.PatientID = "4711"
    dataset.PatientName = "Planted^Person"
    dataset.StudyDate = "19700101"
    dataset.SeriesNumber = 3
    dataset.InstanceNumber = number + 1
    dataset.SliceThickness = 2.5
    dataset.ImagePositionPatient = [f"{v:.10g}" for v in position]
    dataset.ImageOrientationPatient = [f"{v:.10g}" for v in orientation]
    dataset.PixelSpacing = [0.8, 0.5]
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = pixels.dtype.itemsize * 8
    dataset.BitsStored = dataset.BitsAllocated
    dataset.HighBit = dataset.BitsAllocated - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.RescaleSlope = 1
    dataset.RescaleIntercept = 0
    dataset.PixelData = pixels.tobytes()
    return dataset
