"""What counts as a scan, and what it is called."""

from pathlib import Path

import pytest

import medseg.io
from medseg.errors import InputError, MissingFileError
from medseg.io import find_scans, is_scan, read_volume, scan_stem


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("case_001.nii.gz", "case_001"),
        ("a.b.NII.GZ", "a.b"),
        ("x_0000.nii", "x_0000"),
        ("p.nrrd", "p"),
        ("slice.PNG", "slice"),
        ("noext", "noext"),
    ],
)
def test_stem_drops_only_the_format(name: str, stem: str) -> None:
    assert scan_stem(Path(name)) == stem


def test_hidden_files_pairs_and_rubbish_are_no_scans(tmp_path: Path) -> None:
    for name in [".DS_Store", "._a.nii.gz", "a.hdr", "a.img", "b.txt", "c.nii.gz"]:
        (tmp_path / name).write_bytes(b"x" * 200)
    assert [path.name for path in find_scans(tmp_path)] == ["a.hdr", "c.nii.gz"]


def test_folder_of_dicom_is_one_scan(tmp_path: Path) -> None:
    series = tmp_path / "study" / "series"
    series.mkdir(parents=True)
    for name in ("I1", "I2"):
        (series / name).write_bytes(bytes(128) + b"DICM" + bytes(10))
    (tmp_path / "a.nii").write_bytes(b"x")
    assert find_scans(tmp_path) == [tmp_path / "a.nii", series]
    assert is_scan(series)


def test_errors_name_the_path(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="nowhere"):
        find_scans(tmp_path / "nowhere")
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(InputError, match=r"notes\.txt: not an image that medseg knows"):
        read_volume(tmp_path / "notes.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no DICOM file in it"):
        read_volume(tmp_path / "empty")


def test_public_door() -> None:
    assert all(hasattr(medseg.io, name) for name in medseg.io.__all__)
