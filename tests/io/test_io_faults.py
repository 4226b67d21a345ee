"""Hundreds of damaged and hostile files: each one a line, none a crash or a hang."""

import csv
import gzip
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_phantom import voxels, write_series
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless, generate_uid

from medseg.io import write_volume
from medseg.volume import Volume

SECONDS = 240
MEMORY = 6 << 30
RUN = """
import resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_AS, ({memory}, {memory}))
from medseg.conversion.convert import convert
root = Path(sys.argv[1])
summary = convert(root / "in", root / "out", key_path=root / "key")
sys.exit(summary.exit_code + 10)
"""
PLAIN = "1.2.840.10008.1.2.1"


def flipped(data: bytes, rng: np.random.Generator, *, first: int, count: int) -> bytes:
    """Some bytes changed, from a position on."""
    changed = bytearray(data)
    for place in rng.integers(first, len(data), count):
        changed[place] = int(rng.integers(256))
    return bytes(changed)


def damaged_dicom(good: bytes, rng: np.random.Generator, number: int) -> bytes:
    """One of five kinds of damage to a DICOM file."""
    kind = number % 5
    if kind == 0:
        return good[: int(rng.integers(1, len(good)))]
    if kind == 1:
        return flipped(good, rng, first=132, count=20)
    if kind == 2:  # a length or a VR in the header
        return flipped(good, rng, first=132, count=3)
    if kind == 3:
        place = int(rng.integers(140, 1000))
        return good[:place] + rng.bytes(64) + good[place:]
    place = int(rng.integers(140, 1000))
    return good[:place] + good[place + int(rng.integers(1, 64)) :]


def hostile_elements() -> list[dict[str, object]]:
    """Elements that lie about sizes or try to leave the output folder."""
    outside = "../../../../outside"
    return [
        {"Rows": 65535, "Columns": 65535},
        {"Rows": 0},
        {"NumberOfFrames": "2000000000"},
        {"NumberOfFrames": "-3"},
        {"BitsAllocated": 64},
        {"BitsAllocated": 1},
        {"BitsStored": 99},
        {"PixelSpacing": ["0", "0"]},
        {"PixelSpacing": ["nan", "1e300"]},
        {"ImagePositionPatient": ["1e308", "nan", "inf"]},
        {"ImageOrientationPatient": ["0"] * 6},
        {"ImageOrientationPatient": ["1", "0", "0", "1", "0", "0"]},
        {"RescaleSlope": "1e300"},
        {"RescaleSlope": "nan"},
        {"SeriesInstanceUID": outside},
        {"StudyInstanceUID": outside, "SeriesInstanceUID": "/etc/passwd"},
        {"Modality": outside},
        {"SeriesNumber": outside},
        {"PatientID": outside},
        {"SamplesPerPixel": 3},
        {"SamplesPerPixel": 60000},
        {"ImageType": "ORIGINAL\\PRIMARY\\MOSAIC"},
        {"SliceThickness": "-5"},
        {"PixelPaddingValue": 65535},
    ]


def bomb_header(shape: tuple[int, int, int]) -> bytes:
    import nibabel as nib

    header = nib.Nifti1Header()
    header.set_data_shape(shape)
    header.set_data_dtype(np.int16)
    header["magic"], header["vox_offset"] = b"n+1", 352
    header.set_sform(np.eye(4), 1)
    return bytes(header.binaryblock) + bytes(4)


def nested_sequences(depth: int) -> bytes:
    """A DICOM data set of sequences within sequences."""
    item = b""
    for _ in range(depth):
        body = b"\xfe\xff\x00\xe0" + struct.pack("<L", len(item)) + item
        item = b"\x08\x00\x40\x11SQ\0\0" + struct.pack("<L", len(body)) + body
    return item


def write_tree(root: Path) -> int:
    """At least 300 damaged files, each in a folder of its own; returns how many."""
    rng = np.random.default_rng(0)
    folder = root / "in"
    folder.mkdir()
    count = 0

    def add(name: str, data: bytes) -> None:
        nonlocal count
        path = folder / f"{count:04d}" / name
        path.parent.mkdir()
        path.write_bytes(data)
        count += 1

    for number, syntax in enumerate(
        [PLAIN, RLELossless, JPEG2000Lossless, JPEGLSLossless]
    ):
        (path,) = write_series(
            root / "good" / str(number), voxels((64, 68, 1)), syntax=syntax
        )
        good = path.read_bytes()
        for damage in range(45):
            add("file", damaged_dicom(good, rng, damage))
    for elements in hostile_elements():
        (path,) = write_series(root / "hostile" / str(count), voxels((64, 68, 1)))
        dataset = pydicom.dcmread(path)
        try:
            with pydicom.config.disable_value_validation():
                for keyword, value in elements.items():
                    setattr(dataset, keyword, value)
            dataset.save_as(path)
        except (ValueError, OverflowError, struct.error):
            continue  # pydicom itself would not write that
        add("hostile.dcm", path.read_bytes())
    head = path.read_bytes()[:132]
    meta = pydicom.dcmread(path).file_meta
    assert meta.TransferSyntaxUID
    start = (
        path.read_bytes().index(b"\x08\x00\x05\x00")
        if b"\x08\x00\x05\x00" in path.read_bytes()
        else 400
    )
    prefix = path.read_bytes()[: max(start, 340)]
    add("deep", prefix + nested_sequences(3000))
    deflated = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = deflated.compress(bytes(200 << 20)) + deflated.flush()
    deflate_meta = prefix.replace(
        PLAIN.encode() + b"\0", b"1.2.840.10008.1.2.1.99"[:20]
    )
    add("deflated.dcm", deflate_meta + bomb)
    add("noise.dcm", head + rng.bytes(5000))
    add("only_magic", head)
    for suffix in (".nii.gz", ".nii", ".nrrd", ".mha", ".png", ".tif"):
        good_path = root / f"good{suffix}"
        stored = rng.integers(0, 255, (1, 24, 20, 1), dtype=np.uint8)
        write_volume(good_path, Volume(stored, np.eye(4)))
        good = good_path.read_bytes()
        for damage in range(16):
            if damage % 2:
                add(f"scan{suffix}", good[: int(rng.integers(0, len(good)))])
            else:
                first = 0 if damage % 4 else min(40, len(good) // 2)
                add(f"scan{suffix}", flipped(good, rng, first=first, count=8))
    add(
        "bomb.nii.gz",
        gzip.compress(bomb_header((32000, 32000, 32000)) + bytes(1 << 20)),
    )
    add("bomb2.nii.gz", gzip.compress(bomb_header((2000, 1000, 30)) + bytes(200 << 20)))
    add(
        "big.nrrd",
        b"NRRD0004\ntype: short\ndimension: 3\nsizes: 90000 90000 900\n"
        b"encoding: gzip\n\n" + gzip.compress(bytes(9999)),
    )
    add(
        "away.nhdr",
        b"NRRD0004\ntype: short\ndimension: 3\nsizes: 9 9 9\nencoding: raw\n"
        b"data file: /etc/passwd\n\n",
    )
    return count


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
def test_hostile_files_cost_a_line_each(tmp_path: Path) -> None:
    count = write_tree(tmp_path)
    assert count >= 300
    before = {p for p in tmp_path.rglob("*") if p.is_file()}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", RUN.format(memory=MEMORY), tmp_path],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 11, done.stderr[-3000:]
    made = {p for p in tmp_path.rglob("*") if p.is_file()} - before
    assert all((tmp_path / "out") in p.parents or p == tmp_path / "key" for p in made)
    with (tmp_path / "out" / "conversion.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    mentioned = sum(int(row["num_files"]) for row in rows)
    silent = count - mentioned  # no longer anything that says it is a scan
    assert silent <= count // 10
    for row in rows:
        assert row["status"] in ("done", "failed", "set aside")
        assert row["reason"] or row["status"] == "done"
        assert "\n" not in row["reason"]
        assert "Traceback" not in row["reason"]
        if row["output"]:
            assert (tmp_path / "out" / row["output"]).parent == tmp_path / "out"
    assert generate_uid() not in done.stdout
