"""Odd names, links, special files and killed calls of ``convert``."""

import csv
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nibabel
import numpy as np
import pytest

from medseg.conversion.convert import convert
from medseg.conversion.table import GROWING, TABLE, Conversion, ConversionTable
from medseg.progress import Silent

POSIX = pytest.mark.skipif(os.name != "posix", reason="names as POSIX has them")


class Lines(Silent):
    """Keeps warnings."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def warn(self, message: str) -> None:
        self.lines.append(message)


def scan(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    good = path.parent / "good.nii.gz"
    if not good.exists():
        image = nibabel.Nifti1Image(np.ones((3, 4, 5), np.int16), np.eye(4))
        nibabel.save(image, good)
    if path != good:
        path.write_bytes(good.read_bytes())
    return path


def table_of(
    folder: Path, out: Path, progress: Silent | None = None
) -> list[dict[str, str]]:
    convert(folder, out, key_path=out.parent / "key", progress=progress)
    with (out / TABLE).open(newline="") as stream:
        return list(csv.DictReader(stream))


@POSIX
@pytest.mark.parametrize(
    "name",
    [
        b"caf\xe9", b"\xff\xfe", b"x" * 240, "\u00e9".encode() * 120, b"=cmd|calc!A1",
        b"+1", b"-rf", b"@SUM(1)", b"esc\x1b[31mred", b"new\nline", b"tab\t", b"CON ",
        b"a:b*c",
    ],
    ids=str,
)  # fmt: skip
def test_odd_names_are_converted_and_shown_safely(name: bytes, tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path / "in") + b"/" + name + b".nii.gz"))
    scan(path)
    rows = table_of(tmp_path / "in", tmp_path / "out")
    assert [row["status"] for row in rows] == ["done", "done"]
    for row in rows:
        assert (tmp_path / "out" / row["output"]).is_file()
        assert len(row["output"].encode()) < 200
        for cell in row.values():
            assert cell.isprintable()
            assert not cell.startswith(("=", "+", "@", "-r"))
    again = table_of(tmp_path / "in", tmp_path / "out")
    assert [row["status"] for row in again] == ["unchanged", "unchanged"]


@contextmanager
def listening(path: Path) -> Iterator[None]:
    here = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
            yield
    finally:
        os.chdir(here)


@POSIX
@pytest.mark.skipif(sys.platform != "linux", reason="devices as Linux has them")
def test_what_is_no_file_has_a_line(tmp_path: Path) -> None:
    tree = tmp_path / "in"
    scan(tree / "good.nii.gz")
    links = {"dangling.nii.gz": "nothere", "loop.nrrd": "loop.nrrd"}
    links |= {"zero.nii": "/dev/zero", "pipe.mha": "fifo.nii.gz"}
    for name, target in links.items():
        (tree / name).symlink_to(target)
    os.mkfifo(tree / "fifo.nii.gz")
    with listening(tree / "socket.nii.gz"):
        rows = table_of(tree, tmp_path / "out")
        summary = convert(tree, tmp_path / "out", key_path=tmp_path / "key")
    found = {row["source"]: row for row in rows}
    assert set(found) == {"good.nii.gz", "fifo.nii.gz", "socket.nii.gz", *links}
    assert found.pop("good.nii.gz")["status"] == "done"
    assert {row["status"] for row in found.values()} == {"failed"}
    assert "FIFO" in found["pipe.mha"]["reason"]
    assert "not there" in found["dangling.nii.gz"]["reason"]
    assert summary.exit_code == 1


@POSIX
def test_links_to_folders_elsewhere_are_said(tmp_path: Path) -> None:
    scan(tmp_path / "elsewhere" / "other.nii.gz")
    tree = tmp_path / "in"
    scan(tree / "good.nii.gz")
    (tree / "more").symlink_to(tmp_path / "elsewhere")
    (tree / "loop").symlink_to(".")
    lines = Lines()
    assert len(table_of(tree, tmp_path / "out", lines)) == 1
    assert ["more" in line for line in lines.lines if "not followed" in line] == [True]


def line(name: str) -> Conversion:
    return Conversion(name=name, status="done", output=f"{name}.nii.gz")


def test_a_killed_call_leaves_what_it_knew(tmp_path: Path) -> None:
    with ConversionTable(tmp_path).growing():
        pass
    first = ConversionTable(tmp_path)
    with first.growing():
        for name in "ab":
            first.add(line(name))
    killed = ConversionTable(tmp_path)
    killed.add(line("c"))  # and no more
    growing = tmp_path / GROWING
    growing.write_text(growing.read_text() + "torn,do")
    assert set(ConversionTable(tmp_path).earlier) == {"a", "b", "c"}


def test_an_interruption_keeps_lines_that_were_not_reached(tmp_path: Path) -> None:
    first = ConversionTable(tmp_path)
    with first.growing():
        for name in "ab":
            first.add(line(name))
    second = ConversionTable(tmp_path)
    second.add(line("b"))
    with pytest.raises(KeyboardInterrupt), second.growing():
        raise KeyboardInterrupt
    assert set(ConversionTable(tmp_path).earlier) == {"a", "b"}
    assert not (tmp_path / GROWING).exists()


def test_lines_are_appended(tmp_path: Path) -> None:
    """Bytes written grow with the number of lines, not with its square."""
    table = ConversionTable(tmp_path)
    sizes = []
    with table.growing():
        for number in range(200):
            table.add(line(f"scan{number:03d}"))
            sizes.append((tmp_path / GROWING).stat().st_ino)
    assert len(set(sizes)) == 1
    assert len(ConversionTable(tmp_path).earlier) == 200
