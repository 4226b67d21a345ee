"""Healthy scans and label objects of eight formats, and damaged copies of them."""

import gzip
import random
import re
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import highdicom
import nibabel
import numpy as np
import SimpleITK
import tifffile
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian

FORMATS = ("DICOM", "NIfTI", "NRRD", "MHA", "PNG", "TIFF", "SEG", "RTSTRUCT")
SUFFIXES = {
    "DICOM": ".dcm", "NIfTI": ".nii.gz", "NRRD": ".nrrd", "MHA": ".mha", "PNG": ".png",
    "TIFF": ".tif", "SEG": ".dcm", "RTSTRUCT": ".dcm",
}  # fmt: skip
SHAPE = (28, 26, 12)
UID = "1.2.826.0.1.3680043.8.498"
EXTREMES = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def scan(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A noisy volume with a bright ball whose place depends on the seed; the ball."""
    rng = np.random.default_rng(seed)
    place = np.array([9 + seed % 9, 10 + seed % 5, 6])
    distance = sum(
        (axis - c) ** 2 for axis, c in zip(np.indices(SHAPE), place, strict=True)
    )
    ball = distance < 20
    return (rng.normal(size=SHAPE) * 20 + 300 + 250 * ball).astype(np.int16), ball


def write_nifti(path: Path, array: np.ndarray) -> Path:
    """A volume of 1.1 by 1 by 1.3 mm."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, np.diag([1.1, 1.0, 1.3, 1.0])), path)
    return path


def healthy(kind: str, folder: Path, *, as_labels: bool = False) -> bytes:
    """The bytes of a healthy file of a format: a scan, or a label map of it."""
    array, ball = scan(1)
    if as_labels:
        array = ball.astype(np.int16)
    path = folder / f"healthy{SUFFIXES[kind]}"
    if kind == "NIfTI":
        write_nifti(path, array)
    elif kind in ("NRRD", "MHA"):
        image = SimpleITK.GetImageFromArray(array.T.copy())
        SimpleITK.WriteImage(image, str(path), useCompression=kind == "NRRD")
    elif kind == "PNG":
        Image.fromarray(
            (array[..., 6] // (1 if as_labels else 4)).astype(np.uint8)
        ).save(path)
    elif kind == "TIFF":
        pages = array.T.astype(np.uint16)
        tifffile.imwrite(path, pages, compression="zlib", metadata={"axes": "ZYX"})
    elif kind == "DICOM":
        slices(array)[5].save_as(path, enforce_file_format=True)
    elif kind == "SEG":
        _segmentation(slices(array), ball).save_as(path)
    else:
        _structures(slices(array)).save_as(path, enforce_file_format=True)
    return path.read_bytes()


def slices(array: np.ndarray, uid: str = UID) -> list[Dataset]:
    """A series of MR slices, as data sets, whose identifiers begin with `uid`."""
    found = []
    for k in range(array.shape[2]):
        one = Dataset()
        one.SOPClassUID, one.SOPInstanceUID = (
            "1.2.840.10008.5.1.4.1.1.4",
            f"{uid}.1.{k + 1}",
        )
        one.StudyInstanceUID, one.SeriesInstanceUID = uid, f"{uid}.1"
        one.FrameOfReferenceUID, one.Modality = f"{uid}.2", "MR"
        one.PatientID, one.PatientName = "TEST", "TEST^"
        one.PatientBirthDate = one.PatientSex = one.AccessionNumber = ""
        one.ReferringPhysicianName, one.StudyID = "", "1"
        one.StudyDate, one.StudyTime = "20200101", "120000"
        one.SeriesNumber, one.InstanceNumber = "1", str(k + 1)
        one.ImageType = ["ORIGINAL", "PRIMARY"]
        one.Rows, one.Columns, one.SamplesPerPixel = SHAPE[1], SHAPE[0], 1
        one.PhotometricInterpretation, one.PixelRepresentation = "MONOCHROME2", 0
        one.BitsAllocated = one.BitsStored = 16
        one.HighBit = 15
        one.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        one.ImagePositionPatient = [0, 0, 1.3 * k]
        one.PixelSpacing, one.SliceThickness = [1.0, 1.1], 1.3
        one.PixelData = np.ascontiguousarray(array[..., k].T, np.uint16).tobytes()
        one["PixelData"].VR = "OW"
        one.file_meta = FileMetaDataset()
        one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID
        one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID
        one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        found.append(one)
    return found


def write_series(folder: Path, seed: int, uid: str) -> Path:
    """A series on disk."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, one in enumerate(slices(scan(seed)[0], uid)):
        one.save_as(folder / f"{number:02d}.dcm", enforce_file_format=True)
    return folder


def _segmentation(images: Sequence[Dataset], ball: np.ndarray) -> Dataset:
    description = highdicom.seg.SegmentDescription(
        segment_number=1,
        segment_label="ball",
        segmented_property_category=codes.SCT.Organ,
        segmented_property_type=codes.SCT.Liver,
        algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.MANUAL,
    )
    return highdicom.seg.Segmentation(
        source_images=list(images),
        pixel_array=np.ascontiguousarray(ball.transpose(2, 1, 0)),
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[description],
        series_instance_uid=f"{UID}.3",
        series_number=3,
        sop_instance_uid=f"{UID}.3.1",
        instance_number=1,
        manufacturer="none",
        manufacturer_model_name="none",
        software_versions="0",
        device_serial_number="0",
    )


def _structures(images: Sequence[Dataset]) -> Dataset:
    one = Dataset()
    for keyword in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID"):
        setattr(one, keyword, getattr(images[0], keyword))
    one.SOPClassUID = "1.2.840.10008.5.1.4.1.1.481.3"
    one.SOPInstanceUID, one.SeriesInstanceUID = f"{UID}.4.1", f"{UID}.4"
    one.Modality, one.PatientName, one.StructureSetLabel = "RTSTRUCT", "TEST", "set"
    region, contours, reference = Dataset(), Dataset(), Dataset()
    region.ROINumber, region.ROIName, region.ROIGenerationAlgorithm = 1, "ball", ""
    region.ReferencedFrameOfReferenceUID = one.FrameOfReferenceUID
    contours.ReferencedROINumber = 1
    contours.ContourSequence = []
    for image in images[3:9]:
        contour = Dataset()
        contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", 4
        z = float(image.ImagePositionPatient[2])
        contour.ContourData = [5, 5, z, 15, 5, z, 15, 15, z, 5, 15, z]
        contours.ContourSequence.append(contour)
    series, study = Dataset(), Dataset()
    series.SeriesInstanceUID = images[0].SeriesInstanceUID
    study.RTReferencedSeriesSequence = [series]
    reference.FrameOfReferenceUID = one.FrameOfReferenceUID
    reference.RTReferencedStudySequence = [study]
    one.StructureSetROISequence = [region]
    one.ROIContourSequence = [contours]
    one.ReferencedFrameOfReferenceSequence = [reference]
    one.file_meta = FileMetaDataset()
    one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID
    one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID
    one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return one


# ------------------------------------------------------------------ damage


def mutant(data: bytes, rng: random.Random) -> bytes:
    """The bytes after one to three kinds of damage; packed ones are packed again."""
    packed = data[:2] == b"\x1f\x8b" and rng.random() < 0.7
    block = bytearray(gzip.decompress(data) if packed else data)
    for _ in range(rng.randint(1, 3)):
        rng.choice(DAMAGE)(block, rng)
    return gzip.compress(bytes(block), 1) if packed else bytes(block)


def _place(block: bytearray, rng: random.Random) -> int:
    """Mostly in the header, where damage says something."""
    head = min(len(block), 700)
    return rng.randrange(head if rng.random() < 0.7 else len(block)) if block else 0


def _flip(block: bytearray, rng: random.Random) -> None:
    for _ in range(rng.randint(1, 8)):
        if block:
            block[_place(block, rng)] ^= 1 << rng.randrange(8)


def _cut(block: bytearray, rng: random.Random) -> None:
    del block[_place(block, rng) :]


def _extreme(block: bytearray, rng: random.Random) -> None:
    form = rng.choice(["<H", ">H", "<I", ">I", "<f", "<d"])
    size = struct.calcsize(form)
    if len(block) <= size:
        return
    place = min(_place(block, rng), len(block) - size)
    if form in ("<f", "<d"):
        value: float = rng.choice([0.0, -1.0, 1e30, float("inf"), float("nan")])
    else:
        value = rng.choice(EXTREMES) & (0xFFFF if size == 2 else 0xFFFFFFFF)
    struct.pack_into(form, block, place, value)


def _zero(block: bytearray, rng: random.Random) -> None:
    start, length = _place(block, rng), rng.choice([1, 4, 16, 200])
    end = min(start + length, len(block))
    block[start:end] = bytes(end - start)


def _insert(block: bytearray, rng: random.Random) -> None:
    place = _place(block, rng)
    block[place:place] = rng.randbytes(rng.choice([1, 4, 100]))


def _repeat(block: bytearray, rng: random.Random) -> None:
    place, length = _place(block, rng), rng.choice([8, 64, 512])
    block[place:place] = block[place : place + length]


def _remove(block: bytearray, rng: random.Random) -> None:
    place = _place(block, rng)
    del block[place : place + rng.choice([1, 4, 32])]


def _number(block: bytearray, rng: random.Random) -> None:
    """Another number in the place of one that is written as text."""
    found = list(re.finditer(rb"\d+", bytes(block[:700])))
    if not found:
        return
    one = rng.choice(found)
    texts = (b"0", b"-1", b"3", b"65535", b"9" * 20, b"1e30", b"nan", b"%s", b"")
    block[one.start() : one.end()] = rng.choice(texts)


DAMAGE: tuple[Callable[[bytearray, random.Random], None], ...] = (
    _flip, _cut, _extreme, _zero, _insert, _repeat, _remove, _number,
)  # fmt: skip


def plant(
    folder: Path,
    kinds: Sequence[str],
    count: int,
    rng: random.Random,
    *,
    as_labels: bool = False,
) -> list[Path]:
    """Damaged files in a folder, of the formats in turn.

    Args:
        folder: Where to.
        kinds: Formats.
        count: Files.
        rng: Decides the damage.
        as_labels: Whether they are label maps before they are damaged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sources = {
        kind: healthy(kind, folder.parent, as_labels=as_labels) for kind in kinds
    }
    paths = []
    for number in range(count):
        kind = kinds[number % len(kinds)]
        path = folder / f"m{number:04d}_{kind.lower()}{SUFFIXES[kind]}"
        path.write_bytes(mutant(sources[kind], rng))
        paths.append(path)
    return paths
