"""Reading a DICOM series of 384 slices, and 200 NIfTI files, against peers.

    python benchmarks/reading.py [--nifti FOLDER] [--repeats 5] [--json]

The series (384 × 320 × 320, 16 bit, 78 MB of pixels, about 130 elements a header) is
made in a temporary folder. Every reader ends with the voxels in memory, dcm2niix with
an uncompressed NIfTI on disk, which is what it does (it must be on PATH: `apt install
dcm2niix` or `pip install dcm2niix`). Readers take turns; the median of the wall times
counts, files being in the system's cache.
"""

import argparse
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from machine import describe_machine, print_rows

SLICES, SIZE = 384, 320
FILLERS = 90


@dataclass(frozen=True)
class Row:
    """One comparison; a ratio above 1 means that ours is faster."""

    name: str
    ours: float
    peer: float
    ratio: float
    unit: str = "s"


def main() -> None:
    """Prints the comparisons."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nifti", type=Path, help="folder of NIfTI files")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        series = Path(folder) / "series"
        write_series(series)
        rows += compare("series of 384", dicom_readers(series), arguments.repeats)
    if arguments.nifti:
        paths = sorted(arguments.nifti.glob("*.nii.gz"))
        name = f"{len(paths)} NIfTI files"
        rows += compare(name, nifti_readers(paths), arguments.repeats)
    if arguments.json:
        print_rows([asdict(row) for row in rows], machine=describe_machine("cpu"))
        return
    print(describe_machine("cpu"), versions())
    for row in rows:
        print(f"{row.name}: {row.ours:.3f} s, peer {row.peer:.3f} s, {row.ratio:.2f}×")


def versions() -> str:
    """Which peers were measured."""
    import pydicom
    import SimpleITK

    found = [f"pydicom {pydicom.__version__}", f"SimpleITK {SimpleITK.__version__}"]
    if shutil.which("dcm2niix"):
        done = subprocess.run(["dcm2niix", "-v"], capture_output=True, text=True)
        found.append(f"dcm2niix {done.stdout.split()[-1]}")
    return ", ".join(found)


def compare(
    name: str, readers: dict[str, Callable[[], object]], repeats: int
) -> list[Row]:
    """Median times of readers that take turns, ours ("medseg") against each."""
    times: dict[str, list[float]] = {reader: [] for reader in readers}
    for turn in range(repeats + 1):
        for reader, read in readers.items():
            started = time.perf_counter()
            read()
            if turn:  # the first round warms imports and caches
                times[reader].append(time.perf_counter() - started)
    medians = {reader: statistics.median(taken) for reader, taken in times.items()}
    ours = medians.pop("medseg")
    return [
        Row(
            f"{name} against {peer}",
            round(ours, 4),
            round(taken, 4),
            round(taken / ours, 2),
        )
        for peer, taken in medians.items()
    ]


def dicom_readers(series: Path) -> dict[str, Callable[[], object]]:
    """Functions that read the series, by name."""
    import SimpleITK

    from medseg.io import read_volume

    def with_simpleitk() -> object:
        reader = SimpleITK.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(series)))
        return SimpleITK.GetArrayFromImage(reader.Execute())

    def with_dcm2niix() -> object:
        with tempfile.TemporaryDirectory() as out:
            command = ["dcm2niix", "-z", "n", "-b", "n", "-o", out, str(series)]
            return subprocess.run(command, capture_output=True, check=True)

    readers: dict[str, Callable[[], object]] = {
        "medseg": lambda: read_volume(series),
        "SimpleITK": with_simpleitk,
    }
    if shutil.which("dcm2niix"):
        readers["dcm2niix"] = with_dcm2niix
    return readers


def nifti_readers(paths: list[Path]) -> dict[str, Callable[[], object]]:
    """Functions that read all files, by name."""
    import nibabel as nib
    import SimpleITK

    from medseg.io import read_volume

    return {
        "medseg": lambda: [read_volume(path) for path in paths],
        "nibabel": lambda: [np.asanyarray(nib.load(path).dataobj) for path in paths],
        "SimpleITK": lambda: [
            SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
            for path in paths
        ],
    }


def write_series(folder: Path) -> None:
    """A series of noise with headers of a usual length."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    folder.mkdir()
    rng = np.random.default_rng(0)
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    for k in range(SLICES):
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
        dataset.SOPInstanceUID = generate_uid()
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
        dataset.FrameOfReferenceUID = frame
        dataset.PatientName, dataset.PatientID = "BENCHMARK", "1"
        dataset.StudyDate, dataset.StudyTime = "20200101", "120000"
        dataset.Modality, dataset.Manufacturer = "MR", "SIEMENS"
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
        dataset.SeriesNumber, dataset.InstanceNumber = 1, k + 1
        dataset.AcquisitionNumber = 1
        dataset.EchoTime, dataset.RepetitionTime, dataset.FlipAngle = 3.0, 2300.0, 9.0
        dataset.SliceThickness, dataset.PixelSpacing = 0.8, [0.8, 0.8]
        dataset.ImagePositionPatient = [-128, -128, round(0.8 * k, 4)]
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        dataset.PatientPosition, dataset.ScanningSequence = "HFS", "GR"
        block = dataset.private_block(0x0051, "MEDSEG FILLER", create=True)
        for number in range(FILLERS):
            block.add_new(number, "LO", f"value of private element {number}")
        dataset.Rows = dataset.Columns = SIZE
        dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
        dataset.PhotometricInterpretation = "MONOCHROME2"
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
        pixels = rng.integers(0, 4096, (SIZE, SIZE), dtype=np.uint16)
        dataset.PixelData = pixels.tobytes()
        dataset.save_as(folder / f"IM{k:04d}", enforce_file_format=True)


if __name__ == "__main__":
    main()
