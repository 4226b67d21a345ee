"""Damaged and hostile inputs by the hundred, through `medseg predict`.

Each file has its line, nothing crashes, hangs or is written elsewhere, and memory stays
bounded: the command runs in a process of its own under limits, with every attempt to
write written down by an audit hook.
"""

import csv
import gzip
import json
import os
import re
import struct
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from predict_phantoms import planted_series, scan_like
from pydicom import dcmread

from medseg.io import write_volume
from medseg.io.identity import Pseudonymizer
from medseg.plan import Plan
from medseg.prediction.scans import Collector
from medseg.prediction.series_rules import SeriesRules
from medseg.volume import Volume

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


def short_pixels(data: bytes, random: np.random.Generator) -> bytes:
    """Whole in itself, but with fewer pixels than Rows × Columns."""
    place = data.rfind(b"\xe0\x7f\x10\x00OW") + 8
    size = struct.unpack_from("<L", data, place)[0]
    fewer = int(random.integers(0, size // 2)) * 2
    return data[:place] + struct.pack("<L", fewer) + data[place + 4 :][:fewer]


def inserted(data: bytes, random: np.random.Generator) -> bytes:
    place = int(random.integers(140, 1000))
    return data[:place] + random.bytes(48) + data[place:]


def removed(data: bytes, random: np.random.Generator) -> bytes:
    place = int(random.integers(140, 1000))
    return data[:place] + data[place + int(random.integers(1, 64)) :]


MUTATIONS: tuple[Mutation, ...] = (
    *(cut, flip, wrong_vr, absurd_length, absurd_size, zeroed, traversal),
    *(short_pixels, inserted, removed),
)
PLAIN, RLE, J2K, JLS = (
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.5",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.80",
)
DEFLATED = b"1.2.840.10008.1.2.1.99"
SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha", ".png", ".tif")


def plant_dicom(tree: Path, count: int) -> list[Path]:
    """Damaged files, each of a series of its own in a folder of its own."""
    paths = []
    for number in range(count):
        random = np.random.default_rng(number)
        syntax = PLAIN if number % 3 else (RLE, J2K, JLS)[number // 3 % 3]
        kinds = MUTATIONS if syntax == PLAIN else (cut, flip, wrong_vr, zeroed, removed)
        (path,) = planted_series(
            tree / f"{number:03d}",
            shape=(32, 32, 1),
            study_uid=f"1.2.3.{number}",
            syntax=syntax,
        ).paths
        mutate = kinds[number % len(kinds)]
        path.write_bytes(mutate(path.read_bytes(), random))
        paths.append(path)
    return paths


def plant_others(tree: Path, count: int) -> list[Path]:
    """Damaged files of the other formats: bytes flipped, every other one cut."""
    paths = []
    for number in range(count):
        random = np.random.default_rng(number)
        suffix = SUFFIXES[number % len(SUFFIXES)]
        path = tree / f"n{number:03d}{suffix}"
        flat = suffix in (".png", ".tif")
        voxels = random.integers(0, 200, (1, 12, 11, 1 if flat else 5), dtype=np.uint8)
        write_volume(path, Volume(voxels, np.eye(4)))
        data = bytearray(path.read_bytes())
        for place in random.integers(0, len(data), size=6):
            data[place] ^= int(random.integers(1, 256))
        end = int(random.integers(1, len(data))) if number % 2 else len(data)
        path.write_bytes(bytes(data[:end]))
        paths.append(path)
    return paths


def plant_bombs(tree: Path) -> list[Path]:
    """A few hundred kilobytes each that claim, and unfold to, far more."""
    tree.mkdir()
    plain = bytearray(scan_like(tree / "b.nii", shape=(4, 4, 4)).read_bytes())
    (tree / "b.nii").unlink()
    struct.pack_into("<8h", plain, 40, 3, 30000, 30000, 30000, 1, 1, 1, 1)
    zeros = bytes(150_000_000)
    (tree / "bomb.nii.gz").write_bytes(gzip.compress(bytes(plain[:352]) + zeros, 9))
    head = (
        b"NRRD0004\ntype: short\ndimension: 3\nsizes: 40000 40000 400\n"
        b"encoding: gzip\n\n"
    )
    (tree / "bomb.nrrd").write_bytes(head + gzip.compress(zeros, 9))
    head = (
        b"ObjectType = Image\nNDims = 3\nBinaryData = True\nCompressedData = True\n"
        b"DimSize = 40000 40000 400\nElementSpacing = 1 1 1\n"
        b"ElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    )
    (tree / "bomb.mha").write_bytes(head + zlib.compress(zeros, 9))
    (tree / "bomb.png").write_bytes(png(60000, 60000, zlib.compress(zeros, 9)))
    with zipfile.ZipFile(tree / "zip.nii.gz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../escaped.nii", zeros)
    (path,) = planted_series(tree / "deflated", shape=(8, 7, 1)).paths
    data = path.read_bytes()
    start = data.index(b"\x08\x00\x08\x00")  # ImageType, the first of the data set
    meta = data[:start].replace(
        b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99"[:20]
    )
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    path.write_bytes(meta + squeeze.compress(data[start:] + zeros) + squeeze.flush())
    (many,) = planted_series(tree / "many", shape=(8, 7, 1)).paths
    dataset = dcmread(many)
    dataset.NumberOfFrames = 2_000_000_000
    dataset.save_as(many)
    return [path for path in tree.rglob("*") if path.is_file()]


def png(width: int, height: int, pixels: bytes) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">L", zlib.crc32(kind + content))
        return struct.pack(">L", len(content)) + kind + content + check

    head = struct.pack(">LLBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


GUARDED = """
import json, os, resource, sys
model, tree, out, key, said = sys.argv[1:6]
writes = set()
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

def note(event, values):
    if event == "open" and isinstance(values[0], (str, bytes)):
        mode, flags = values[1], values[2]
        if flags & WRITING if mode is None else set(mode) & set("wax+"):
            writes.add(os.path.realpath(os.fsdecode(values[0])))
    elif event in ("os.mkdir", "os.symlink", "os.link", "os.remove", "os.rename"):
        writes.update(os.path.realpath(os.fsdecode(v)) for v in values
                      if isinstance(v, (str, bytes)))

from medseg.cli import main
from medseg.prediction.segmenter import Segmenter
sys.addaudithook(note)
limit = 6 << 30
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
sys.argv = ["medseg", "predict", model, tree, "-o", out, "--key", key,
            "--engine", "torch"]
try:
    main()
finally:
    status = open("/proc/self/status").read().splitlines()
    peak = int(next(x for x in status if x.startswith("VmHWM")).split()[1])
    kept = [p for p in writes if not p.startswith("/dev/")]
    print(json.dumps({"writes": kept, "peak_kb": peak}), file=open(said, "w"))
"""
SECONDS = 280


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
@pytest.mark.filterwarnings("ignore")
def test_every_damaged_input_has_its_line_and_harms_nothing(
    model: Path, small_plan: Plan, tmp_path: Path
) -> None:
    tree, out, said = tmp_path / "tree", tmp_path / "out", tmp_path / "said.json"
    paths = [*plant_dicom(tree, 250), *plant_others(tree, 60)]
    paths += plant_bombs(tree / "bombs")
    assert len(paths) >= 300
    scan_like(tree / "good.nii.gz")
    before = {p: p.stat().st_mtime_ns for p in tree.rglob("*")}
    done = subprocess.run(
        [
            *(sys.executable, "-W", "ignore", "-c", GUARDED),
            *map(str, (model, tree, out, tmp_path / "key", said)),
        ],
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 1, done.stderr[-3000:]  # some failed, none crashed
    assert "Traceback" not in done.stderr, done.stderr[-3000:]
    report = json.loads(said.read_text())
    cache = os.environ["XDG_CACHE_HOME"]  # of engines that were measured
    drawing = os.environ["XDG_CONFIG_HOME"]  # matplotlib's settings
    own = (str(tmp_path / "key"), str(said), str(out), str(model), cache, drawing)
    there = {str(tmp_path)}  # where the key lies; making it again does nothing
    temporary = Path(tempfile.gettempdir()).resolve()  # readers' sockets, for a while
    writes = [w for w in report["writes"] if Path(w).parent != temporary]
    assert [w for w in writes if not w.startswith(own)] in ([], [*there])
    assert report["peak_kb"] < 2 << 20
    with (out / "predictions.csv").open() as stream:
        lines = {row["scan"]: row for row in csv.DictReader(stream)}
    assert lines["good"]["status"] == "done"
    for row in lines.values():
        assert row["status"] in ("done", "failed", "set aside")
        assert bool(row["output"]) == (row["status"] == "done")
        assert row["reason"] or row["output"]
        assert row["reason"].isprintable()
    for name in ("bomb.nii.gz", "bomb.nrrd", "bomb.mha", "bomb.png", "zip.nii.gz"):
        (row,) = (row for row in lines.values() if row["source"].endswith(name))
        assert row["status"] == "failed", name
    names = Pseudonymizer(b"k" * 32)
    scans = Collector(small_plan.channels, names, SeriesRules(), out).collect(tree)
    assert len(scans) == len(lines)
    listed = {file for scan in scans for file in scan.files}
    assert {path for path in paths if is_claimed(path)} <= listed
    assert {p: p.stat().st_mtime_ns for p in tree.rglob("*")} == before
    assert {p.name for p in tmp_path.iterdir()} == {"tree", "out", "key", "said.json"}
    beside = {p.name for p in out.glob("*/*") if p.suffix != ".js"}
    assert beside == {"good.png", "good.html"}  # and nothing of the others


def is_claimed(path: Path) -> bool:
    """Whether a file still says that it is a scan."""
    with path.open("rb") as stream:
        head = stream.read(132)
    return path.name.endswith(SUFFIXES) or head[128:] == b"DICM"


def test_the_undamaged_file_can_be_read(tmp_path: Path) -> None:
    (path,) = planted_series(tmp_path, shape=(8, 7, 1)).paths
    assert dcmread(path).pixel_array.shape == (7, 8)
