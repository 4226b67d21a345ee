"""A DICOM series of a volume, as a scanner would file it, for tests and tutorials."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medseg.volume import Volume

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"


def make_tiny_dicom(
    folder: Path, volume: Volume, *, patient_id: str = "TINY-1", seed: int = 0
) -> Path:
    """Writes each slice of a volume as a CT image of one series; returns the folder.

    Files lie in no order, without suffix. Values are rounded to whole numbers.

    Args:
        folder: Made if it is not there.
        volume: One channel, axes along those of the world.
        patient_id: Written into every file.
        seed: Of the files' order; another seed is another series of another study.

    Raises:
        ValueError: The volume has several channels, or its axes lean.
    """
    from pydicom.uid import generate_uid

    directions = volume.affine[:3, :3]
    if volume.voxels.shape[0] != 1 or np.count_nonzero(directions) != 3:
        raise ValueError("one channel and axes along the world's are expected")
    folder.mkdir(parents=True, exist_ok=True)
    stored = np.rint(volume.voxels[0]).astype(np.int16)
    order = np.random.default_rng(seed).permutation(stored.shape[2])
    study, series, frame = (
        generate_uid(entropy_srcs=[patient_id, str(seed), part])
        for part in ("study", "series", "frame")
    )
    for k, number in enumerate(order):
        image = _slice(volume, stored[:, :, k].T, k)
        image.StudyInstanceUID, image.SeriesInstanceUID = study, series
        image.FrameOfReferenceUID = frame
        image.PatientID, image.PatientName = patient_id, "Tiny^Phantom"
        image.StudyID, image.SeriesNumber, image.InstanceNumber = "1", 1, int(number)
        image.save_as(folder / f"IM{number:04d}", enforce_file_format=True)
    return folder


def _slice(volume: Volume, pixels: np.ndarray, k: int) -> "Dataset":
    """One file's data set; pixels of shape (rows, columns), LPS as DICOM has it."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

    to_lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine
    position, spacing = to_lps @ [0, 0, k, 1], np.abs(to_lps[:3, :3]).sum(axis=0)
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = UID(_CT_IMAGE)
    image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    image.Modality, image.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    image.StudyDate, image.StudyTime = "20260101", "120000"
    image.PatientBirthDate, image.PatientSex = "", ""
    image.AccessionNumber, image.ReferringPhysicianName = "", ""
    image.ImagePositionPatient = [f"{value:.8g}" for value in position[:3]]
    directions = (to_lps[:3, :2] / spacing[:2]).T.ravel()
    image.ImageOrientationPatient = [f"{value:.8g}" for value in directions]
    image.PixelSpacing = [f"{spacing[1]:.8g}", f"{spacing[0]:.8g}"]
    image.SliceThickness = f"{spacing[2]:.8g}"
    image.Rows, image.Columns = pixels.shape
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 16, 15
    image.PixelRepresentation, image.RescaleSlope, image.RescaleIntercept = 1, 1, 0
    image.PixelData = np.ascontiguousarray(pixels).tobytes()
    return image
