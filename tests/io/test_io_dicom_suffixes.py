"""DICOM under the names of other formats, and other formats that look like DICOM."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from dicom_phantom import voxels, write_series

from medseg.io import find_scans, is_scan, read_volume
from medseg.io.formats import Format, format_of
from medseg.io.identity import load_pseudonymizer
from medseg.io.sources import find_sources, load_source

SUFFIXES = [
    "img",
    "IMG",
    "hdr",
    "tif",
    "jpg",
    "png",
    "nii",
    "mhd",
    "nrrd",
    "raw",
    "IMA",
]


@pytest.mark.parametrize("is_bare", [False, True])
@pytest.mark.parametrize("suffix", [*SUFFIXES, "0001", "dcm.bak", ""])
def test_content_tells_dicom(tmp_path: Path, suffix: str, *, is_bare: bool) -> None:
    folder = tmp_path / "in"
    for path in write_series(folder, voxels()):
        if is_bare:
            path.write_bytes(path.read_bytes()[132:])
        path.rename(folder / f"{path.name}.{suffix}".rstrip("."))
    (source,) = find_sources(folder, names=load_pseudonymizer(tmp_path / "key"))
    np.testing.assert_array_equal(load_source(source).volume.voxels[0], voxels())
    np.testing.assert_array_equal(read_volume(folder).voxels[0], voxels())
    if not is_bare or suffix in SUFFIXES[:8]:
        assert find_scans(folder) == [folder]


@pytest.mark.parametrize(
    "first", [b"\x08\x00\x05\x00CS", b"\x08\x00\x05\x00\x0a\0\0\0"]
)
def test_pixels_of_a_pair_are_no_dicom(tmp_path: Path, first: bytes) -> None:
    stored = voxels((8, 8, 4)).astype(np.int16)
    nib.save(nib.Nifti1Pair(stored, np.eye(4)), tmp_path / "pair.hdr")
    pixels = tmp_path / "pair.img"
    pixels.write_bytes(first + pixels.read_bytes()[len(first) :])
    assert not is_scan(pixels)
    assert format_of(pixels) is Format.NIFTI
    assert find_scans(tmp_path) == [tmp_path / "pair.hdr"]
