"""Voxels in files of their own: which, whether they are read, and changed."""

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
import tifffile

from medseg.errors import InputError
from medseg.io import read_volume
from medseg.io.detached import files_of, require_own_data
from medseg.io.sources import ScanSource
from medseg.preparation.inputs import FileHashes

META = (
    "ObjectType = Image\nNDims = {n}\nDimSize = {dims}\nElementType = MET_SHORT\n"
    "ElementSpacing = 1 1 1\nElementDataFile = {data}\n"
)
NRRD = (
    "NRRD0004\ntype: short\ndimension: 3\nsizes: 4 5 6\n"
    "space: left-posterior-superior\nspace directions: (1,0,0) (0,1,0) (0,0,1)\n"
    "space origin: (0,0,0)\nencoding: {how}\nendian: little\ndata file: {data}\n\n"
)


def voxels(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 999, (6, 5, 4)).astype(np.int16)


def write_slices(folder: Path) -> list[Path]:
    paths = [folder / f"slice_{number:02d}.raw" for number in range(1, 7)]
    for path, plane in zip(paths, voxels(), strict=True):
        plane.tofile(path)
    return paths


def written(folder: Path, kind: str) -> Path:
    """A scan of one kind whose voxels lie elsewhere."""
    path = folder / f"scan.{kind.split('-')[0]}"
    if kind in ("mhd", "nhdr", "hdr"):
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(voxels()), str(path))
        return path
    planes = write_slices(folder)
    names = "\n".join(file.name for file in planes)
    how = {
        "mhd-list": META.format(n=3, dims="4 5 6", data=f"LIST\n{names}"),
        "mhd-pattern": META.format(n=3, dims="4 5 6", data="slice_%02d.raw 1 6 1"),
        "nhdr-list": NRRD.format(how="raw", data=f"LIST\n{names}"),
        "nhdr-pattern": NRRD.format(how="raw", data="slice_%02d.raw 1 6 1 2"),
    }[kind]
    path.write_text(how.rstrip("\n") + "\n" if "LIST" in how else how)
    return path


KINDS = ("mhd", "nhdr", "hdr", "mhd-list", "mhd-pattern", "nhdr-list", "nhdr-pattern")


@pytest.mark.parametrize("kind", KINDS)
def test_other_voxels_are_another_content(kind: str, tmp_path: Path) -> None:
    path = written(tmp_path, kind)
    found = files_of(path)
    others = sorted(set(tmp_path.iterdir()) - {path})
    assert sorted(found[1:]) == others
    assert np.array_equal(read_volume(path).voxels[0].T, voxels())
    source = ScanSource(tmp_path, (path,), "scan")
    before = source.content_hash(), FileHashes(tmp_path / "known.json").of(path)
    data = bytearray(others[-1].read_bytes())
    data[-2] ^= 1
    others[-1].write_bytes(data)
    after = source.content_hash(), FileHashes(tmp_path / "known.json").of(path)
    assert before[0] != after[0]
    assert before[1] != after[1]


@pytest.mark.parametrize("note", ["scan_0000.json", "scan.json"])
def test_another_voxel_size_beside_a_tiff_is_another_content(
    note: str, tmp_path: Path
) -> None:
    path, beside = tmp_path / "scan_0000.tif", tmp_path / note
    tifffile.imwrite(path, voxels())
    source, known = ScanSource(tmp_path, (path,), "scan"), tmp_path / "known"
    hashes = {(source.content_hash(), FileHashes(known).of(path))}
    for spacing in ([1, 1, 1], [1, 1, 2]):
        beside.write_text(json.dumps({"spacing": spacing}))
        assert files_of(path) == [path, beside]
        hashes.add((source.content_hash(), FileHashes(known).of(path)))
    assert [len(set(part)) for part in zip(*hashes, strict=True)] == [3, 3]


def test_hashes_of_whole_files_stay_what_they_were(tmp_path: Path) -> None:
    path = tmp_path / "scan.mha"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(voxels()), str(path))
    hashed = FileHashes(tmp_path / "known.json").of(path)
    assert ScanSource(tmp_path, (path,), "scan").content_hash() == hashed


@pytest.mark.parametrize("name", ["/etc/passwd", "../up.raw", "a/../../up.raw", "~/x"])
@pytest.mark.parametrize("kind", ["mhd", "mhd-list", "nhdr", "nhdr-list"])
def test_no_file_outside_the_folder_is_read(
    name: str, kind: str, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    voxels().tofile(tmp_path / "up.raw")
    data = f"LIST\n{name}" if "list" in kind else name
    path = folder / f"scan.{kind.split('-')[0]}"
    form = META if "mhd" in kind else NRRD
    path.write_text(form.format(n=3, dims="4 5 6", how="raw", data=data))
    with pytest.raises(InputError, match="outside its own folder"):
        read_volume(path)
    assert files_of(path) == [path]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data": "%s.raw"}, "pattern"),
        ({"data": "%n.raw 1 3 1"}, "pattern"),
        ({"data": "%s%s%s.raw 1 3 1"}, "pattern"),
        ({"data": "%09999999d.raw 1 3 1"}, "pattern"),
        ({"data": "%d%d.raw 1 3 1"}, "pattern"),
        ({"data": "s%d.raw 1 999999999 1"}, "numbers of data files"),
        ({"data": "s%d.raw 1 3 0"}, "numbers of data files"),
        ({"n": "9" * 20}, "whole number"),
        ({"n": "1000"}, "NDims"),
        ({"n": "x"}, "whole number"),
        ({"dims": "4 5"}, "DimSize"),
        ({"dims": "4000 5000 6000"}, "at most"),
        ({"data": "none.raw"}, "not there"),
        ({"data": "LOCAL"}, "at most"),
    ],
)
def test_headers_that_no_library_should_see(
    changes: dict[str, str], said: str, tmp_path: Path
) -> None:
    path = tmp_path / "scan.mhd"
    voxels().tofile(tmp_path / "scan.raw")
    values = {"n": "3", "dims": "4 5 6", "data": "scan.raw"}
    path.write_text(META.format(**values | changes))
    with pytest.raises(InputError, match=said):
        require_own_data(path)
    path.write_text(META.format(**values))
    require_own_data(path)


def test_devices_hold_no_voxels(tmp_path: Path) -> None:
    path = tmp_path / "scan.mhd"
    (tmp_path / "zero.raw").symlink_to("/dev/zero")
    path.write_text(META.format(n=3, dims="4 5 6", data="zero.raw"))
    with pytest.raises(InputError, match="no file of voxels"):
        read_volume(path)


def test_names_of_damaged_headers_are_shown_safely(tmp_path: Path) -> None:
    path = tmp_path / "scan.mhd"
    text = META.format(n=3, dims="4 5 6", data="NAME").encode()
    path.write_bytes(text.replace(b"NAME", b"\x87\xbdR\x1b.raw"))
    with pytest.raises(InputError, match=r"in \\udc87\\udcbdR") as caught:
        read_volume(path)
    str(caught.value).encode("utf-8")
