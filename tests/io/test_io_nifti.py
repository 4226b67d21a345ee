"""NIfTI: voxels, types and affines survive; damage is named."""

import gzip
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from medseg.errors import GeometryError, InputError, LabelError, OutputError
from medseg.io import (
    GeometryWarning,
    read_grid,
    read_label_map,
    read_volume,
    write_label_map,
    write_volume,
)
from medseg.volume import LabelMap, Volume

DATA = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="no shared data here")
AFFINE = np.array(
    [[0.0, -2.0, 0, 10], [1.5, 0, 0, -20], [0, 0, 3, 30], [0, 0, 0, 1]], dtype=float
)


def save(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.data(),
    dtype=st.sampled_from(["u1", "i2", "u2", "i4", "f4", "f8", "i8"]),
    suffix=st.sampled_from([".nii", ".nii.gz", ".nrrd", ".mha"]),
    shape=array_shapes(min_dims=4, max_dims=4, min_side=1, max_side=5),
)
def test_load_after_save_keeps_everything(
    tmp_path: Path, data: st.DataObject, dtype: str, suffix: str, shape: tuple[int, ...]
) -> None:
    voxels = data.draw(arrays(dtype, shape, elements={"allow_nan": False}))
    write_volume(tmp_path / f"v{suffix}", Volume(voxels, AFFINE))
    back = read_volume(tmp_path / f"v{suffix}")
    np.testing.assert_array_equal(back.voxels, voxels)
    np.testing.assert_allclose(back.affine, AFFINE, rtol=0, atol=1e-12)
    assert back.voxels.dtype == voxels.dtype
    assert not read_grid(tmp_path / f"v{suffix}").mismatch(back.grid)


def test_matches_nibabel_and_is_writable(tmp_path: Path) -> None:
    array = np.random.default_rng(0).normal(size=(4, 5, 6)).astype(np.float32)
    volume = read_volume(save(tmp_path / "a.nii.gz", array))
    np.testing.assert_array_equal(volume.voxels[0], array)
    assert volume.voxels.flags.writeable


def test_big_endian_becomes_native(tmp_path: Path) -> None:
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    header = nib.Nifti1Header(endianness=">")
    image = nib.Nifti1Image(array, AFFINE, header)
    nib.save(image, tmp_path / "a.nii")
    volume = read_volume(tmp_path / "a.nii")
    np.testing.assert_array_equal(volume.voxels[0], array)
    assert volume.voxels.dtype.isnative


def test_nifti2_and_pair(tmp_path: Path) -> None:
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    nib.save(nib.Nifti2Image(array, AFFINE), tmp_path / "two.nii.gz")
    nib.save(nib.Nifti1Pair(array, AFFINE), tmp_path / "pair.hdr")
    for name in ("two.nii.gz", "pair.hdr", "pair.img"):
        if name != "pair.img":
            volume = read_volume(tmp_path / name)
            np.testing.assert_array_equal(volume.voxels[0], array)
            np.testing.assert_array_equal(volume.affine, AFFINE)


def test_last_axis_becomes_channels(tmp_path: Path) -> None:
    four = np.arange(2 * 3 * 4 * 5, dtype=np.int16).reshape(2, 3, 4, 5)
    volume = read_volume(save(tmp_path / "a.nii", four))
    np.testing.assert_array_equal(volume.voxels, np.moveaxis(four, 3, 0))
    vector = read_volume(save(tmp_path / "v.nii", four[:, :, :, None, :]))
    np.testing.assert_array_equal(vector.voxels, volume.voxels)


def test_plane_has_one_k(tmp_path: Path) -> None:
    assert read_volume(
        save(tmp_path / "a.nii", np.ones((4, 5), np.uint8))
    ).voxels.shape == (1, 4, 5, 1)


def test_time_and_channels_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", np.zeros((2, 2, 2, 3, 4), np.uint8))
    with pytest.raises(GeometryError, match="at most one of channels"):
        read_volume(path)


def test_slope_and_intercept_scale(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.array([[[1, 2]]], np.int16), AFFINE)
    image.header.set_slope_inter(0.5, 10)
    image.to_filename(tmp_path / "a.nii")
    raw = bytearray((tmp_path / "a.nii").read_bytes())
    raw[112:120] = np.array([0.5, 10], "<f4").tobytes()
    raw[352:356] = np.array([1, 2], "<i2").tobytes()
    (tmp_path / "a.nii").write_bytes(raw)
    volume = read_volume(tmp_path / "a.nii")
    np.testing.assert_array_equal(volume.voxels[0], [[[10.5, 11.0]]])
    assert volume.voxels.dtype == np.float32


def test_sform_before_qform_with_a_warning(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.zeros((2, 2, 2), np.uint8), None)
    image.set_sform(AFFINE, 1)
    image.set_qform(np.eye(4), 1)
    nib.save(image, tmp_path / "a.nii")
    with pytest.warns(GeometryWarning, match=r"a\.nii: sform and qform disagree"):
        volume = read_volume(tmp_path / "a.nii")
    np.testing.assert_array_equal(volume.affine, AFFINE)


def test_qform_alone_then_voxel_size_alone(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.zeros((2, 2, 2), np.uint8), None)
    image.set_qform(AFFINE, 1)
    nib.save(image, tmp_path / "q.nii")
    np.testing.assert_allclose(
        read_volume(tmp_path / "q.nii").affine, AFFINE, atol=1e-5
    )
    bare = nib.Nifti1Image(np.zeros((3, 3, 3), np.uint8), None)
    bare.header.set_zooms((2, 2, 4))
    nib.save(bare, tmp_path / "n.nii")
    affine = read_volume(tmp_path / "n.nii").affine
    np.testing.assert_array_equal(affine, nib.load(tmp_path / "n.nii").affine)


def test_units_become_mm(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.zeros((2, 2, 2), np.uint8), np.diag([500, 500, 500, 1]))
    image.header.set_xyzt_units("micron")
    nib.save(image, tmp_path / "a.nii")
    assert read_volume(tmp_path / "a.nii").grid.spacing == pytest.approx((0.5,) * 3)


def leaning(angle: float) -> np.ndarray:
    affine = np.diag([1.0, 1, 1, 1])
    affine[0, 1] = angle
    return affine


def test_small_shear_is_repaired_large_refused(tmp_path: Path) -> None:
    small = save(tmp_path / "s.nii", np.zeros((2, 2, 2), np.uint8), leaning(5e-4))
    with pytest.warns(GeometryWarning, match="nearest orthonormal"):
        assert read_volume(small).affine[0, 1] == pytest.approx(2.5e-4, rel=1e-3)
    large = save(tmp_path / "l.nii", np.zeros((2, 2, 2), np.uint8), leaning(0.1))
    with pytest.raises(GeometryError, match=r"l\.nii: voxel axes are not at right"):
        read_volume(large)
    np.testing.assert_allclose(
        read_volume(large, allow_shear=True).affine, leaning(0.1), atol=1e-7
    )


@pytest.mark.parametrize(
    ("scale", "message"), [(0.0, "voxel size of 0"), (np.nan, "NaN")]
)
def test_unusable_affine_is_refused(tmp_path: Path, scale: float, message: str) -> None:
    image = nib.Nifti1Image(np.zeros((2, 2, 2), np.uint8), np.eye(4))
    image.header["srow_x"] = scale
    image.header["qform_code"] = 0
    nib.save(image, tmp_path / "a.nii")
    raw = bytearray((tmp_path / "a.nii").read_bytes())
    raw[280:296] = np.full(4, scale, "<f4").tobytes()
    (tmp_path / "a.nii").write_bytes(raw)
    with pytest.raises(GeometryError, match=message):
        read_volume(tmp_path / "a.nii")


def test_like_keeps_codes_and_units_but_no_text(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.zeros((2, 3, 4), np.int16), None)
    image.set_qform(AFFINE, 3)
    image.header["descrip"] = b"a name"
    nib.save(image, tmp_path / "a.nii.gz")
    grid = read_grid(tmp_path / "a.nii.gz")
    label_map = LabelMap(np.ones((2, 3, 4), np.uint8), grid.affine)
    write_label_map(tmp_path / "b.nii.gz", label_map, like=tmp_path / "a.nii.gz")
    header = nib.load(tmp_path / "b.nii.gz").header
    assert (int(header["qform_code"]), int(header["sform_code"])) == (3, 0)
    assert header["descrip"].tobytes().strip(b"\0") == b""
    assert not read_grid(tmp_path / "b.nii.gz").mismatch(grid, tolerance_mm=0.0)


def test_like_on_another_grid_is_not_copied(tmp_path: Path) -> None:
    save(tmp_path / "a.nii", np.zeros((2, 2, 2), np.int16), np.eye(4))
    write_volume(
        tmp_path / "b.nii",
        Volume(np.zeros((1, 2, 2, 2)), AFFINE),
        like=tmp_path / "a.nii",
    )
    np.testing.assert_array_equal(read_grid(tmp_path / "b.nii").affine, AFFINE)


def test_written_twice_is_byte_identical(tmp_path: Path) -> None:
    volume = Volume(np.arange(8, dtype=np.int16).reshape(1, 2, 2, 2), AFFINE)
    write_volume(tmp_path / "a.nii.gz", volume)
    write_volume(tmp_path / "b.nii.gz", volume)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_integral_floats_are_labels_others_not(tmp_path: Path) -> None:
    whole = save(tmp_path / "a.nii", np.array([[[0.0, 300.0]]], np.float32))
    assert read_label_map(whole).voxels.dtype == np.uint16
    broken = save(tmp_path / "b.nii", np.array([[[0.0, 0.5]]], np.float32))
    with pytest.raises(LabelError, match=r"b\.nii: label map holds \[0\.5\]"):
        read_label_map(broken)
    nan = save(tmp_path / "c.nii", np.array([[[0.0, np.nan]]], np.float32))
    with pytest.raises(LabelError, match="1 of 2 voxels are NaN"):
        read_label_map(nan)


def test_files_stack_as_channels_on_one_grid(tmp_path: Path) -> None:
    one = save(tmp_path / "a.nii", np.ones((2, 2, 2), np.int16))
    two = save(tmp_path / "b.nii", np.full((2, 2, 2), 2, np.int16))
    assert read_volume([one, two]).voxels[:, 0, 0, 0].tolist() == [1, 2]
    other = save(tmp_path / "c.nii", np.ones((2, 2, 3), np.int16))
    with pytest.raises(
        GeometryError, match=r"c\.nii does not lie on the grid of .*a\.nii"
    ):
        read_volume([one, other])


def broken_files(folder: Path) -> dict[str, Path]:
    good = save(
        folder / "good.nii.gz", np.random.default_rng(0).normal(size=(20, 20, 20))
    )
    data = good.read_bytes()
    contents = {
        "empty": b"",
        "truncated": data[: len(data) // 2],
        "no_checksum": data[:-4],
        "flipped": data[:3000] + bytes(b ^ 255 for b in data[3000:3100]) + data[3100:],
        "text": b"this is not an image" * 100,
        "short": b"\x5c\x01\0\0",
        "absurd": absurd_header(),
    }
    paths = {}
    for name, content in contents.items():
        paths[name] = folder / f"{name}.nii.gz"
        paths[name].write_bytes(content)
    paths["missing"] = folder / "missing.nii.gz"
    return paths


def absurd_header() -> bytes:
    header = nib.Nifti1Header()
    header.set_data_shape((30000, 30000, 30000))
    header["magic"] = b"n+1"
    return gzip.compress(header.binaryblock + bytes(1000))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("empty", "file is empty"),
        ("truncated", "truncated"),
        ("no_checksum", "truncated"),
        ("flipped", "damaged"),
        ("text", "not a NIfTI file"),
        ("short", "truncated"),
        ("absurd", "truncated or its header is wrong"),
        ("missing", "no such file"),
    ],
)
def test_damage_is_one_clear_line(tmp_path: Path, name: str, message: str) -> None:
    path = broken_files(tmp_path)[name]
    with pytest.raises(InputError, match=message) as caught:
        read_volume(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nothing_half_written_where_a_file_blocks_the_folder(tmp_path: Path) -> None:
    (tmp_path / "blocked").write_text("a file")
    with pytest.raises(OutputError, match="cannot be written"):
        write_volume(
            tmp_path / "blocked" / "a.nii.gz", Volume(np.zeros((1, 2, 2, 2)), AFFINE)
        )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["blocked"]


def test_unknown_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no format has this suffix"):
        write_volume(tmp_path / "a.xyz", Volume(np.zeros((1, 2, 2, 2)), AFFINE))


@needs_data
def test_real_images_equal_nibabel(tmp_path: Path) -> None:
    paths = sorted((DATA / "hippocampus" / "imagesTr").glob("*.nii.gz"))[::20]
    paths += sorted((DATA / "brats2013" / "images").glob("*.nii.gz"))[:1]
    for path in paths:
        image, volume = nib.load(path), read_volume(path)
        np.testing.assert_allclose(volume.voxels[0], image.get_fdata(), rtol=1e-6)
        np.testing.assert_array_equal(volume.affine, image.affine)
        write_volume(tmp_path / "copy.nii.gz", volume, like=path)
        copy = read_volume(tmp_path / "copy.nii.gz")
        np.testing.assert_array_equal(copy.voxels, volume.voxels)
        np.testing.assert_array_equal(copy.affine, volume.affine)
        header = nib.load(tmp_path / "copy.nii.gz").header
        for field in ("qform_code", "sform_code", "xyzt_units"):
            assert header[field] == image.header[field]


@pytest.mark.parametrize("degrees", [-25, -8, 5, 20])
def test_a_tilted_gantry_is_refused_with_advice(tmp_path: Path, degrees: int) -> None:
    """Slices one above the other in a scanner whose gantry leans."""
    affine = np.diag([0.7, 0.7, 5.0, 1.0])
    affine[1, 2] = 5.0 * np.tan(np.radians(degrees))
    path = save(tmp_path / "a.nii.gz", np.zeros((6, 7, 4), np.int16), affine)
    with pytest.raises(GeometryError, match=r"tilted CT gantry.*medseg convert"):
        read_volume(path)


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("codes", [(0, 1), (1, 1), (1, 2), (2, 4)])
def test_headers_of_all_kinds_come_back(
    tmp_path: Path, codes: tuple[int, int], scaled: bool
) -> None:
    """Codes, units and scale factors, as tools of many origins write them."""
    array = np.random.default_rng(2).integers(0, 900, (7, 6, 5)).astype(np.int16)
    image = nib.Nifti1Image(array, AFFINE)
    image.set_qform(AFFINE, code=codes[0])
    image.set_sform(AFFINE, code=codes[1])
    image.header.set_xyzt_units("mm", "sec")
    if scaled:
        image.header.set_slope_inter(0.5, -100.0)
    nib.save(image, tmp_path / "a.nii.gz")
    plain, volume = nib.load(tmp_path / "a.nii.gz"), read_volume(tmp_path / "a.nii.gz")
    np.testing.assert_allclose(volume.voxels[0], plain.get_fdata(), rtol=1e-6)
    np.testing.assert_array_equal(volume.affine, plain.affine)
    write_volume(tmp_path / "copy.nii.gz", volume, like=tmp_path / "a.nii.gz")
    copy = nib.load(tmp_path / "copy.nii.gz")
    np.testing.assert_allclose(copy.get_fdata(), plain.get_fdata(), rtol=1e-6)
    for field in ("qform_code", "sform_code", "xyzt_units"):
        assert copy.header[field] == plain.header[field]


@needs_data
def test_sheared_reference_is_refused_with_advice() -> None:
    path = DATA / "dicom" / "ct_gantry_tilt" / "reference.nii.gz"
    with pytest.raises(GeometryError, match=r"tilted CT gantry.*medseg convert"):
        read_volume(path)


def test_warnings_do_not_fire_for_plain_files(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", np.zeros((2, 2, 2), np.uint8))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_volume(path)
