"""NIfTI headers that are wrong on paper and read by other programs nevertheless."""

import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medseg.errors import InputError, UnreadableFileError
from medseg.io import GeometryWarning, read_grid, read_volume, write_volume
from medseg.io.geometry_warning import recorded_geometry

VOXELS = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
OFFSETS = {"dim": 40, "datatype": 70, "pixdim": 76, "units": 123, "quatern": 256}
SPACING = (0.8, 0.6, 2.0)


def nifti(path: Path, *, form: str = "qform", voxels: np.ndarray = VOXELS) -> Path:
    """A file whose position is given by one form alone: LPS, 0.8 x 0.6 x 2 mm."""
    affine = np.diag([-0.8, -0.6, 2.0, 1.0])
    affine[:3, 3] = (20, 30, -12)
    image = nib.Nifti1Image(voxels, affine)
    image.set_qform(affine, 1 if "qform" in form else 0)
    image.set_sform(affine, 1 if "sform" in form else 0)
    nib.save(image, path)
    return path


def patched(path: Path, at: int, code: str, *values: float) -> Path:
    block = bytearray(path.read_bytes())
    struct.pack_into(f"<{code}", block, at, *values)
    path.write_bytes(bytes(block))
    return path


def read_quietly(path: Path) -> tuple[np.ndarray, np.ndarray, list[str]]:
    with recorded_geometry() as notes:
        volume = read_volume(path)
    return volume.voxels[0], volume.affine, notes


@pytest.mark.parametrize(
    ("sign", "expected"), [(0.0, 2.0), (0.5, 2.0), (-7.0, -2.0), (float("nan"), 2.0)]
)
def test_a_sign_that_is_neither_1_nor_minus_1(tmp_path, sign, expected):
    """nifti1.h: pixdim[0] below 0 turns the third axis, anything else does not."""
    path = patched(nifti(tmp_path / "a.nii"), OFFSETS["pixdim"], "f", sign)
    voxels, affine, notes = read_quietly(path)
    np.testing.assert_array_equal(voxels, VOXELS)
    assert affine[2, 2] == expected
    assert "pixdim[0]" in notes[0]


def test_the_sign_does_not_matter_to_an_sform(tmp_path):
    path = patched(nifti(tmp_path / "a.nii", form="sform"), OFFSETS["pixdim"], "f", 0)
    _, affine, notes = read_quietly(path)
    assert np.diag(affine)[:3] == pytest.approx([-0.8, -0.6, 2.0])
    assert notes == []


@pytest.mark.parametrize("form", ["qform", ""])
def test_negative_voxel_sizes_count_without_their_sign(tmp_path, form):
    path = nifti(tmp_path / "a.nii", form=form)
    patched(path, OFFSETS["pixdim"] + 8, "f", -0.6)
    _, affine, notes = read_quietly(path)
    expected = nib.load(path).affine
    np.testing.assert_allclose(affine, expected, atol=1e-6)
    assert np.linalg.norm(affine[:3, :3], axis=0) == pytest.approx(SPACING)
    assert "voxel size -0.6 along axis 2" in notes[0]


def test_a_voxel_size_of_0_is_read_as_nibabel_does_and_said(tmp_path):
    path = patched(nifti(tmp_path / "a.nii", form=""), OFFSETS["pixdim"] + 12, "f", 0)
    _, affine, notes = read_quietly(path)
    assert np.linalg.norm(affine[:3, :3], axis=0) == pytest.approx([0.8, 0.6, 1.0])
    assert "voxel size 0 along axis 3" in notes[0]


@pytest.mark.parametrize("form", ["qform", "sform", "qform sform", ""])
def test_a_picture_without_a_third_voxel_size(tmp_path, form):
    path = nifti(tmp_path / "a.nii", form=form, voxels=VOXELS[..., :1])
    patched(path, OFFSETS["pixdim"] + 12, "f", 0)
    if "sform" in form:
        for row in range(3):
            patched(path, 280 + 16 * row + 8, "f", 0)
    voxels, affine, _ = read_quietly(path)
    assert voxels.shape == (3, 4, 1)
    assert np.linalg.norm(affine[:3, :3], axis=0) == pytest.approx([0.8, 0.6, 1.0])
    assert not read_grid(path).mismatch(read_volume(path).grid)


@pytest.mark.parametrize("length", [1.001, 1.1, 3.0])
def test_a_quaternion_longer_than_1_is_shortened_as_itk_does(tmp_path, length):
    """niftilib: b, c, d are divided by their length, and a is 0."""
    path = nifti(tmp_path / "a.nii")
    patched(path, OFFSETS["quatern"], "fff", 0, 0, length)
    _, affine, notes = read_quietly(path)
    assert np.diag(affine)[:3] == pytest.approx([-0.8, -0.6, 2.0])
    assert "quaternion" in notes[0]


@pytest.mark.parametrize("broken", [0.0, float("nan")])
def test_a_good_qform_beside_an_unusable_sform(tmp_path, broken):
    path = nifti(tmp_path / "a.nii", form="qform sform")
    patched(path, 280, "12f", *[broken] * 12)
    _, affine, notes = read_quietly(path)
    assert np.diag(affine)[:3] == pytest.approx([-0.8, -0.6, 2.0])
    assert affine[:3, 3] == pytest.approx([20, 30, -12])
    assert "sform is unusable" in notes[0]


def test_an_unusable_sform_alone_is_refused(tmp_path):
    path = patched(nifti(tmp_path / "a.nii", form="sform"), 280, "12f", *[0.0] * 12)
    with pytest.raises(InputError, match=r"a\.nii: affine"):
        read_volume(path)


@pytest.mark.parametrize(
    ("code", "millimetres", "said"), [(0, 1, 0), (1, 1000, 0), (3, 1e-3, 0), (7, 1, 1)]
)
def test_units(tmp_path, code, millimetres, said):
    path = patched(nifti(tmp_path / "a.nii"), OFFSETS["units"], "B", code)
    _, affine, notes = read_quietly(path)
    found = np.linalg.norm(affine[:3, :3], axis=0)
    assert found == pytest.approx(np.multiply(SPACING, millimetres))
    assert len(notes) == said
    assert all("unit of length 7 is unknown" in note for note in notes)


def test_an_unknown_voxel_type_is_one_clear_line(tmp_path):
    path = patched(nifti(tmp_path / "a.nii"), OFFSETS["datatype"], "h", 999)
    with pytest.raises(UnreadableFileError, match="unknown voxel type"):
        read_volume(path)


def test_what_was_mended_is_not_copied_into_results(tmp_path):
    path = patched(nifti(tmp_path / "a.nii"), OFFSETS["pixdim"], "f", 0)
    with pytest.warns(GeometryWarning):
        volume = read_volume(path)
    write_volume(tmp_path / "b.nii", volume, like=path)
    assert nib.load(tmp_path / "b.nii").header["pixdim"][0] == 1
    np.testing.assert_array_equal(read_volume(tmp_path / "b.nii").affine, volume.affine)


def analyze(folder: Path, kind: str) -> Path:
    """An Analyze pair of VOXELS, 0.8 x 0.6 x 2 mm, as other programs write it."""
    folder.mkdir(exist_ok=True)
    affine = np.array(
        [[-0.8, 0, 0, 1.6], [0, 0.6, 0, -1.8], [0, 0, 2.0, -4], [0, 0, 0, 1]]
    )
    if kind == "big endian":
        header = nib.AnalyzeHeader(endianness=">")
        header.set_data_dtype(np.int16)
        nib.save(nib.AnalyzeImage(VOXELS, affine, header), folder / "a.img")
    else:
        nib.save(nib.Spm99AnalyzeImage(VOXELS, affine), folder / "a.img")
        (folder / "a.mat").unlink()
        patched(folder / "a.hdr", 253, "3h", 3, 4, 3)  # SPM's originator counts from 1
    if kind == "patient id":  # where NIfTI keeps its rotation
        patched(folder / "a.hdr", 288, "10s", b"SUBJ_00012")
    if kind == "flips":
        patched(folder / "a.hdr", 80, "f", -0.8)
    return folder / "a.hdr"


@pytest.mark.parametrize("kind", ["big endian", "spm", "patient id", "flips"])
@pytest.mark.parametrize("name", ["a.hdr", "a.img"])
def test_analyze_is_read_and_called_by_its_name(tmp_path, kind, name):
    path = analyze(tmp_path / "s", kind).with_name(name)
    voxels, affine, notes = read_quietly(path)
    np.testing.assert_array_equal(voxels, VOXELS)
    assert np.diag(affine)[:3] == pytest.approx([-0.8, 0.6, 2.0])
    if kind == "spm":  # the voxel that SPM's originator names lies at the origin
        assert affine[:3, 3] == pytest.approx([1.6, -1.8, -4])
    assert "Analyze 7.5" in notes[0]


def test_a_lone_header_without_magic_names_analyze(tmp_path):
    path = nifti(tmp_path / "a.nii")
    patched(path, 344, "4s", b"\0\0\0\0")
    with pytest.raises(UnreadableFileError, match=r"Analyze 7\.5"):
        read_volume(path)


def test_a_result_for_an_analyze_scan_is_a_sound_nifti(tmp_path):
    path = analyze(tmp_path / "s", "spm")
    with pytest.warns(GeometryWarning):
        volume = read_volume(path)
    write_volume(tmp_path / "b.nii.gz", volume, like=path)
    np.testing.assert_array_equal(
        read_volume(tmp_path / "b.nii.gz").affine, volume.affine
    )
