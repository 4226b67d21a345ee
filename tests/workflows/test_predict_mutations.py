"""Damaged inputs by the hundred: each has its line, nothing crashes or escapes."""

import gzip
import re
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from predict_phantoms import Predict, planted_series, scan_like
from pydicom import dcmread

from medseg.io.pseudonym import Pseudonymizer
from medseg.plan import Plan
from medseg.workflows.scans import Collector
from medseg.workflows.series_rules import SeriesRules

Mutation = Callable[[bytes, np.random.Generator], bytes]


def cut(data: bytes, random: np.random.Generator) -> bytes:
    return data[: int(random.integers(140, len(data)))]


def flip(data: bytes, random: np.random.Generator) -> bytes:
    changed = bytearray(data)
    for place in random.integers(132, min(len(data), 1500), size=6):
        changed[place] ^= int(random.integers(1, 256))
    return bytes(changed)


def wrong_vr(data: bytes, random: np.random.Generator) -> bytes:
    places = [m.start() for m in re.finditer(rb"(?:DS|US|IS|UI|CS|LO)", data[:1500])]
    place = int(random.choice(places))
    other = random.choice([b"SQ", b"OB", b"FD", b"??", b"\0\0", b"UN"])
    return data[:place] + bytes(other) + data[place + 2 :]


def absurd_length(data: bytes, random: np.random.Generator) -> bytes:
    places = [m.start() for m in re.finditer(rb"(?:DS|US|IS|UI|CS|OW)", data[:1500])]
    place = int(random.choice(places)) + 2
    value = int(random.choice([0xFFFFFFFF, 0x7FFFFFFF, 0xFFFE]))
    return data[:place] + struct.pack("<L", value) + data[place + 4 :]


def absurd_size(data: bytes, random: np.random.Generator) -> bytes:
    place = data.find(b"\x28\x00\x10\x00US\x02\x00") + 8  # Rows
    value = int(random.choice([0, 1, 40000, 65535]))
    return data[:place] + struct.pack("<H", value) + data[place + 2 :]


def zeroed(data: bytes, random: np.random.Generator) -> bytes:
    place = int(random.integers(132, 1500))
    return data[:place] + bytes(64) + data[place + 64 :]


def traversal(data: bytes, random: np.random.Generator) -> bytes:
    del random
    return re.sub(rb"1\.2\.826[\d.]{14}", b"../../../../../tmp/xx", data, count=4)


MUTATIONS: tuple[Mutation, ...] = (
    cut,
    flip,
    wrong_vr,
    absurd_length,
    absurd_size,
    zeroed,
    traversal,
)


def plant(tree: Path, count: int) -> list[Path]:
    """Damaged files, each of a series of its own in a folder of its own."""
    paths = []
    for number in range(count):
        random = np.random.default_rng(number)
        folder = tree / f"{number:03d}"
        study = f"1.2.3.{number}"
        (path,) = planted_series(folder, shape=(8, 7, 1), study_uid=study).paths
        path.write_bytes(MUTATIONS[number % len(MUTATIONS)](path.read_bytes(), random))
        paths.append(path)
    for number in range(count // 5):
        random = np.random.default_rng(number)
        path = scan_like(tree / f"n{number:03d}.nii.gz", shape=(6, 5, 4))
        data = bytearray(path.read_bytes())
        for place in random.integers(0, len(data), size=4):
            data[place] ^= int(random.integers(1, 256))
        path.write_bytes(bytes(data[: int(random.integers(1, len(data) + 1))]))
        paths.append(path)
    return paths


def bomb(path: Path) -> None:
    """A few hundred kilobytes that claim, and unfold to, far more."""
    header = bytearray(scan_like(path, shape=(4, 4, 4)).read_bytes())
    plain = bytearray(gzip.decompress(bytes(header)))
    struct.pack_into("<8h", plain, 40, 3, 30000, 30000, 30000, 1, 1, 1, 1)
    path.write_bytes(gzip.compress(bytes(plain[:352]) + bytes(100_000_000), 9))


@pytest.mark.parametrize(
    "count", [35, pytest.param(350, marks=pytest.mark.slow)], ids=str
)
@pytest.mark.filterwarnings("ignore")
def test_every_damaged_input_has_its_line_and_harms_nothing(
    model: Path, small_plan: Plan, count: int, tmp_path: Path, call: Predict
) -> None:
    tree, out = tmp_path / "tree", tmp_path / "out"
    paths = plant(tree, count)
    bomb(tree / "bomb.nii.gz")
    scan_like(tree / "good.nii.gz")
    before = {p: p.stat().st_mtime_ns for p in tree.rglob("*")}
    lines = call(model, tree, out)
    found = {line.scan: line for line in lines}
    assert found["good"].status == "done"
    assert found["bomb"].status == "failed"
    assert all(line.reason or line.is_segmented for line in lines)
    assert all(line.reason.isprintable() for line in lines)
    names = Pseudonymizer(b"k" * 32)
    collector = Collector(small_plan.channels, names, SeriesRules(), out)
    listed = {file for scan in collector.collect(tree) for file in scan.files}
    assert {path for path in paths if is_claimed(path)} <= listed
    assert {p: p.stat().st_mtime_ns for p in tree.rglob("*")} == before
    assert {p.name for p in tmp_path.iterdir()} == {"tree", "out"}
    assert not list(out.glob("*/*"))


def is_claimed(path: Path) -> bool:
    """Whether a file still says that it is a scan."""
    return path.suffix == ".gz" or path.read_bytes()[128:132] == b"DICM"


def test_the_undamaged_file_can_be_read(tmp_path: Path) -> None:
    (path,) = planted_series(tmp_path, shape=(8, 7, 1)).paths
    assert dcmread(path).pixel_array.shape == (7, 8)
