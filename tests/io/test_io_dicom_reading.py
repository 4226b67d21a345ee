"""DICOM series of known voxels: order, splits, repairs, values."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from dicom_phantom import ORIENTATIONS, voxels, write_series
from pydicom import dcmread
from pydicom.fileset import FileSet
from pydicom.uid import (
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from medseg.errors import GeometryError, InputError, UnreadableFileError
from medseg.geometry import lps_from_ras
from medseg.io import GeometryWarning, read_volume
from medseg.io.dicom import Kind, find_series, read_series


def only(folder: Path) -> object:
    (series,) = find_series(folder).volumes
    return series


@pytest.mark.parametrize("plane", ORIENTATIONS)
def test_order_and_place_come_from_positions(tmp_path: Path, plane: str) -> None:
    stored = voxels()
    write_series(tmp_path, stored, orientation=ORIENTATIONS[plane])
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.voxels[0], stored)
    row, column = np.reshape(ORIENTATIONS[plane], (2, 3))
    expected = np.eye(4)
    expected[:3, :3] = np.stack(
        [row * 0.5, column * 0.8, np.cross(row, column) * 2.5], 1
    )
    expected[:3, 3] = [-10, -20, 30]
    np.testing.assert_allclose(volume.affine, lps_from_ras(expected), atol=1e-9)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless])
@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.uint8])
def test_compressed_pixels_are_the_same(
    tmp_path: Path, syntax: str, dtype: type
) -> None:
    stored = (voxels((72, 68, 3)) % 200).astype(dtype)
    write_series(tmp_path, stored, syntax=syntax)
    np.testing.assert_array_equal(read_volume(tmp_path).voxels[0], stored)


def test_rescale_differs_from_slice_to_slice(tmp_path: Path) -> None:
    stored = voxels()
    slopes = [1.0, 2.0, 0.5, 1.0, 4.0]
    write_series(tmp_path, stored, RescaleSlope=slopes, RescaleIntercept=-100)
    measured = read_volume(tmp_path).voxels[0]
    np.testing.assert_allclose(measured, stored * np.array(slopes) - 100)
    assert measured.dtype == np.float32


def test_whole_rescale_keeps_integers(tmp_path: Path) -> None:
    write_series(tmp_path, voxels(), RescaleIntercept=-1024)
    volume = read_volume(tmp_path)
    assert volume.voxels.dtype == np.int16
    np.testing.assert_array_equal(volume.voxels[0], voxels().astype(int) - 1024)


def test_bits_above_the_stored_ones_are_dropped(tmp_path: Path) -> None:
    stored = voxels() % 4096
    dirty = stored | np.uint16(0x8000)
    write_series(tmp_path / "u", dirty, BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(read_volume(tmp_path / "u").voxels[0], stored)
    signed = (stored.astype(np.int16) - 2048).astype(np.int16)
    cut = (signed & 0x0FFF).astype(np.int16)
    write_series(tmp_path / "s", cut, BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(read_volume(tmp_path / "s").voxels[0], signed)


def test_monochrome1_is_inverted_for_xray_and_kept_for_ct(tmp_path: Path) -> None:
    stored = (voxels() % 256).astype(np.uint8)
    light = {"PhotometricInterpretation": "MONOCHROME1"}
    write_series(tmp_path / "dx", stored, Modality="DX", **light)
    np.testing.assert_array_equal(read_volume(tmp_path / "dx").voxels[0], 255 - stored)
    write_series(tmp_path / "ct", stored, **light)
    np.testing.assert_array_equal(read_volume(tmp_path / "ct").voxels[0], stored)


def test_padding_takes_the_lowest_measured_value(tmp_path: Path) -> None:
    stored = voxels().astype(np.int16)
    stored[0, 0, :] = -2000
    write_series(tmp_path, stored, PixelPaddingValue=-2000)
    scan = read_series(only(tmp_path))
    assert scan.volume.voxels[0, 0, 0, 0] == stored[stored > -2000].min()
    assert [c.kind for c in scan.corrections] == ["padding"]


def test_tilt_is_put_in_line_or_kept_as_shear(tmp_path: Path) -> None:
    stored = np.zeros((6, 20, 5), np.int16)
    stored[2:4, 8:12] = 100
    write_series(tmp_path, stored, tilt=0.32)  # 0.8 mm: one row for each slice
    with pytest.warns(GeometryWarning, match=r"tilt of 17\.74 degrees"):
        volume = read_volume(tmp_path)
    assert volume.voxels.shape == (1, 6, 24, 5)
    for k in range(5):
        np.testing.assert_array_equal(volume.voxels[0, 2:4, 8 + k : 12 + k, k], 100)
        assert volume.voxels[0, :, :, k].sum() == stored[:, :, k].sum()
    sheared = read_volume(tmp_path, allow_shear=True)
    np.testing.assert_array_equal(sheared.voxels[0], stored)
    np.testing.assert_allclose(sheared.affine[1, 2], -0.32 * 2.5)
    with pytest.raises(GeometryError, match="refused as strict: tilt"):
        read_series(only(tmp_path), strict=True)


def test_missing_slice_is_interpolated_and_the_others_kept(tmp_path: Path) -> None:
    stored = np.repeat(np.arange(4, dtype=np.int16) * 10, 6 * 7).reshape(4, 6, 7).T
    write_series(tmp_path, stored, heights=[0, 2, 4, 8])
    scan = read_series(only(tmp_path))
    assert scan.volume.voxels[0, 0, 0].tolist() == [0, 10, 20, 25, 30]
    assert [c.kind for c in scan.corrections] == ["gaps"]
    assert scan.volume.grid.spacing == pytest.approx((0.5, 0.8, 2.0))


def test_mostly_gap_is_refused(tmp_path: Path) -> None:
    write_series(tmp_path, voxels(), heights=[0, 1, 2, 3, 500])
    with pytest.raises(GeometryError, match="slices would be made of 5"):
        read_volume(tmp_path)


def test_slices_off_the_common_line_are_refused(tmp_path: Path) -> None:
    positions = [[0, 0, 0], [0, 0, 2], [9, 0, 4], [0, 0, 6], [0, 0, 8]]
    write_series(tmp_path, voxels(), ImagePositionPatient=positions)
    with pytest.raises(GeometryError, match="leave their common line"):
        read_volume(tmp_path)


def test_copies_are_dropped_and_other_slices_at_one_place_refused(
    tmp_path: Path,
) -> None:
    stored = voxels()
    paths = write_series(tmp_path / "a", stored, series_uid="1.2.3.4")
    (tmp_path / "a" / "copy").write_bytes(paths[0].read_bytes())
    scan = read_series(only(tmp_path / "a"))
    np.testing.assert_array_equal(scan.volume.voxels[0], stored)
    assert [c.kind for c in scan.corrections] == ["copies"]
    again = write_series(tmp_path / "b", stored[:, :, :1], series_uid="1.2.3.4")
    (tmp_path / "a" / "again").write_bytes(again[0].read_bytes())
    assert [c.kind for c in read_series(only(tmp_path / "a")).corrections] == [
        "copies",
        "duplicates",
    ]
    other = write_series(tmp_path / "c", stored[:, :, 1:2], series_uid="1.2.3.4")
    (tmp_path / "a" / "other").write_bytes(other[0].read_bytes())
    with pytest.raises(GeometryError, match="different slices lie at one place"):
        read_series(only(tmp_path / "a"))


def test_series_splits_by_echo_time_point_and_plane(tmp_path: Path) -> None:
    first, second = voxels(seed=1), voxels(seed=2)
    for n, stored in enumerate([first, second]):
        write_series(
            tmp_path / "echo" / str(n), stored, series_uid="1.5", EchoTime=10.0 * n
        )
        write_series(
            tmp_path / "time" / str(n),
            stored,
            series_uid="1.6",
            InstanceNumber=[n * 5 + k for k in range(5)],
        )
        write_series(
            tmp_path / "plane" / str(n),
            stored,
            series_uid="1.7",
            orientation=list(ORIENTATIONS.values())[n],
        )
    for name, labels in {
        "echo": ["echo01", "echo02"],
        "time": ["time01", "time02"],
        "plane": ["plane01", "plane02"],
    }.items():
        volumes = find_series(tmp_path / name).volumes
        assert [series.part for series in volumes] == labels
        read = [read_series(series).volume.voxels[0] for series in volumes]
        np.testing.assert_array_equal(read[0], first)
        np.testing.assert_array_equal(read[1], second)


def test_a_slice_counter_does_not_split(tmp_path: Path) -> None:
    write_series(tmp_path, voxels(), AcquisitionNumber=[1, 2, 3, 4, 5])
    assert only(tmp_path).part == ""  # type: ignore[attr-defined]


def test_several_volumes_are_never_chosen_silently(tmp_path: Path) -> None:
    write_series(tmp_path / "a", voxels())
    write_series(tmp_path / "b", voxels())
    with pytest.raises(InputError, match="2 volumes, expected one"):
        read_volume(tmp_path)


@pytest.mark.parametrize(
    ("elements", "kind", "reason"),
    [
        (
            {"ImageType": "ORIGINAL\\PRIMARY\\LOCALIZER"},
            Kind.LOCALISER,
            "localiser",
        ),
        (
            {
                "SOPClassUID": "1.2.840.10008.5.1.4.1.1.7",
                "ImagePositionPatient": None,
            },
            Kind.DERIVED,
            "secondary capture",
        ),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, Kind.IMAGE, "palette"),
        ({"PhotometricInterpretation": "RGB"}, Kind.IMAGE, "colours"),
        ({"ImageType": "DERIVED\\PRIMARY\\MIP"}, Kind.DERIVED, "derived picture"),
    ],
)
def test_what_is_no_scan_is_set_aside_with_a_reason(
    tmp_path: Path, elements: dict[str, object], kind: Kind, reason: str
) -> None:
    write_series(tmp_path, voxels(), **elements)
    (series,) = find_series(tmp_path).series
    assert series.kind is kind
    with pytest.raises(InputError, match=reason):
        read_volume(tmp_path)


def test_single_slice_is_a_volume_of_one(tmp_path: Path) -> None:
    write_series(tmp_path, voxels((7, 6, 1)))
    volume = read_volume(tmp_path)
    assert volume.voxels.shape == (1, 7, 6, 1)
    assert volume.grid.spacing == pytest.approx((0.5, 0.8, 2.5))


def test_truncated_slice_is_named(tmp_path: Path) -> None:
    paths = write_series(tmp_path, voxels((32, 32, 5)))
    paths[2].write_bytes(paths[2].read_bytes()[:-500])
    with pytest.raises(
        UnreadableFileError, match=f"{paths[2].name}: 1 × 32 × 32 pixels"
    ):
        read_volume(tmp_path)


def test_files_without_preamble_and_rubbish_are_told_apart(tmp_path: Path) -> None:
    stored = voxels()
    for path in write_series(tmp_path, stored):
        path.write_bytes(path.read_bytes()[132:])
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "DICOMDIR.bak").write_bytes(b"\0" * 400)
    np.testing.assert_array_equal(read_volume(tmp_path).voxels[0], stored)


def test_a_dicomdir_is_neither_needed_nor_a_scan(tmp_path: Path) -> None:
    stored = voxels()
    paths = write_series(tmp_path, stored, StudyID="1", StudyTime="101010")
    index = FileSet()
    for path in paths:
        dataset = dcmread(path)
        index.add(dataset)
    index.write(tmp_path / "disc")
    assert (tmp_path / "disc" / "DICOMDIR").exists()
    tree = find_series(tmp_path / "disc")
    assert tree.unreadable == ()
    assert [s.reason for s in tree.series if s.reason] == [
        "a DICOMDIR, whose files are found without it"
    ]
    (series,) = tree.volumes
    np.testing.assert_array_equal(read_series(series).volume.voxels[0], stored)


@pytest.mark.skipif(not shutil.which("dcmcjpeg"), reason="dcmtk is not installed")
@pytest.mark.parametrize("option", ["+e1", "+el"], ids=["first order", "any predictor"])
def test_jpeg_lossless_of_another_encoder_is_the_same(
    tmp_path: Path, option: str
) -> None:
    stored = voxels((72, 68, 3))
    for path in write_series(tmp_path / "plain", stored):
        squeezed = tmp_path / "jpeg" / path.name
        squeezed.parent.mkdir(exist_ok=True)
        command = ["dcmcjpeg", option, str(path), str(squeezed)]
        subprocess.run(command, check=True, capture_output=True)
    np.testing.assert_array_equal(read_volume(tmp_path / "jpeg").voxels[0], stored)


class PanicException(BaseException):
    """What a decoder in Rust raises."""


def test_a_decoder_that_panics_fails_its_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path,) = write_series(tmp_path, voxels((32, 32, 1)), syntax=RLELossless)

    def panic(*_: object, **__: object) -> None:
        raise PanicException("index out of bounds")

    monkeypatch.setattr("pydicom.pixels.utils.pixel_array", panic)
    with pytest.raises(UnreadableFileError, match=f"{path.name}: pixels compressed"):
        read_volume(tmp_path)
