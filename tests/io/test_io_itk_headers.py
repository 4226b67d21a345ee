"""Units, defaults and encodings that NRRD and MetaImage headers say and ITK drops."""

import bz2
from pathlib import Path

import numpy as np
import pytest

from medseg.errors import UnreadableFileError
from medseg.io import read_grid, read_volume
from medseg.io.geometry_warning import recorded_geometry
from medseg.io.units import millimetres_per

VOXELS = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
DIRECTIONS = "space directions: (800,0,0) (0,-600,0) (0,0,2000)"


def nrrd(path: Path, *fields: str, encoding: str = "raw") -> Path:
    head = ["NRRD0004", "type: uchar", "dimension: 3", "sizes: 2 3 4", *fields]
    raw = VOXELS.tobytes(order="F")
    body = bz2.compress(raw) if encoding == "bzip2" else raw
    text = "\n".join([*head, f"encoding: {encoding}"]) + "\n\n"
    path.write_bytes(text.encode() + body)
    return path


def mha(path: Path, *fields: str) -> Path:
    head = ["ObjectType = Image", "NDims = 3", "BinaryData = True", *fields]
    head += ["DimSize = 2 3 4", "ElementType = MET_UCHAR", "ElementDataFile = LOCAL"]
    path.write_bytes(("\n".join(head) + "\n").encode() + VOXELS.tobytes(order="F"))
    return path


def read(path: Path) -> tuple[tuple[float, ...], np.ndarray, list[str]]:
    with recorded_geometry() as notes:
        volume = read_volume(path)
        assert not read_grid(path).mismatch(volume.grid)
    np.testing.assert_array_equal(volume.voxels[0], VOXELS)
    return volume.grid.spacing, volume.affine[:3, 3], list(dict.fromkeys(notes))


@pytest.mark.parametrize(
    ("unit", "spacing"),
    [
        ("um", (0.8, 0.6, 2)),
        ("micrometers", (0.8, 0.6, 2)),
        ("mm", (800, 600, 2000)),
        ("nm", (8e-4, 6e-4, 2e-3)),
    ],
)
def test_units_of_nrrd_become_mm(tmp_path, unit, spacing):
    found, origin, notes = read(
        nrrd(
            tmp_path / "a.nrrd",
            "space: left-posterior-superior",
            DIRECTIONS,
            f'space units: "{unit}" "{unit}" "{unit}"',
            "space origin: (-20,30,12)",
        )
    )
    assert found == pytest.approx(spacing)
    assert origin == pytest.approx(np.multiply(spacing[0] / 800, [20, -30, 12]))
    assert notes == []


def test_an_unknown_unit_is_said(tmp_path):
    fields = ["space: right-anterior-superior", DIRECTIONS]
    units = 'space units: "furlong" "furlong" "furlong"'
    found, _, notes = read(nrrd(tmp_path / "a.nrrd", *fields, units))
    assert found == pytest.approx((800, 600, 2000))
    assert "unit of length furlong is unknown" in notes[0]


@pytest.mark.parametrize(("unit", "size"), [("um", 0.8e-3), ("cm", 8.0), ("mm", 0.8)])
def test_units_of_metaimage_become_mm(tmp_path, unit, size):
    fields = ["ElementSpacing = 0.8 0.8 0.8", f"DistanceUnits = {unit}"]
    found, _, notes = read(mha(tmp_path / "a.mha", *fields))
    assert found == pytest.approx([size] * 3)
    assert notes == []


def test_what_a_header_leaves_out_is_said(tmp_path):
    assert "no voxel size" in read(mha(tmp_path / "a.mha"))[2][0]
    assert "no voxel size" in read(nrrd(tmp_path / "a.nrrd"))[2][0]
    placed = nrrd(tmp_path / "b.nrrd", "spacings: 0.8 0.6 2")
    found, _, notes = read(placed)
    assert found == pytest.approx((0.8, 0.6, 2))
    assert "no orientation" in notes[0]


def test_bzip2_is_called_by_its_name(tmp_path):
    fields = ["space: right-anterior-superior", DIRECTIONS]
    path = nrrd(tmp_path / "a.nrrd", *fields, encoding="bzip2")
    with pytest.raises(UnreadableFileError, match="encoding is not supported"):
        read_volume(path)


@pytest.mark.parametrize(
    ("unit", "mm"),
    [("µm", 1e-3), ("\\u00b5m", 1e-3), ("Micron", 1e-3), ("millimetres", 1), ("px", 0)],
)
def test_units_by_sign_and_name(unit, mm):
    assert millimetres_per(unit) == (mm or None)
