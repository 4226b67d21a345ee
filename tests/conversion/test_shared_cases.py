"""DICOM inputs after bug reports about other tools, made by the cases' scripts."""

import csv
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medseg.conversion.convert import convert
from medseg.io import read_volume

CASES = Path(__file__).resolve().parents[3] / "shared" / "cases"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CASES.exists(), reason="no shared cases here"),
]

Made = Callable[[str], Path]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The folder that the script of a case has filled."""
    done: dict[str, Path] = {}

    def make(number: str) -> Path:
        if number not in done:
            (script,) = CASES.glob(f"{number}_*/make.py")
            done[number] = tmp_path_factory.mktemp(number)
            command = [sys.executable, "-W", "ignore", str(script), str(done[number])]
            subprocess.run(command, check=True, capture_output=True)
        return done[number]

    return make


def ball() -> np.ndarray:
    """What every script stores, as (i, j, k)."""
    k, r, c = np.indices((10, 40, 48))
    d = ((k - 5) * 2.0) ** 2 + (r - 18) ** 2 + (c - 25) ** 2
    stored = np.where(d < 64, 300, 40) + (r * 3 + c * 2 + k * 7) % 13
    return np.asarray(stored.transpose(2, 1, 0))


def converted(
    folder: Path, tmp_path: Path, **options: str
) -> tuple[list[dict[str, str]], dict[str, np.ndarray], int]:
    """Lines of the table, voxels of each result by its name, and the exit code."""
    out = tmp_path / "out"
    summary = convert(folder, out, key_path=tmp_path / "key", **options)
    with (out / "conversion.csv").open(encoding="utf-8") as stream:
        lines = list(csv.DictReader(stream))
    names = [line["output"] for line in lines if line["output"]]
    read = {name: read_volume(out / name).voxels[0] for name in names}
    return lines, read, summary.exit_code


@pytest.mark.parametrize(("what", "step"), [("ct", 2.5), ("nm", 4.8)])
def test_01_all_frames_are_read(
    made: Made, tmp_path: Path, what: str, step: float
) -> None:
    (line,), read, _ = converted(made("01") / what, tmp_path)
    np.testing.assert_array_equal(*read.values(), ball())
    assert float(line["spacing_mm"].split()[2]) == step
    assert "10 frames of one file" in line["corrections"]


def test_01_a_dose_is_no_image(made: Made, tmp_path: Path) -> None:
    lines, read, _ = converted(made("01") / "rt", tmp_path)
    np.testing.assert_array_equal(*read.values(), ball())
    assert [line["reason"] for line in lines] == ["", "a dose, not an image"]


@pytest.mark.parametrize("what", ["vr_ut", "vr_lo", "vr_un"])
def test_03_spacing_of_any_representation(
    made: Made, tmp_path: Path, what: str
) -> None:
    (line,), _, _ = converted(made("03") / what, tmp_path)
    assert (line["spacing_mm"], line["corrections"]) == ("2.5 2.5 2.5", "")


@pytest.mark.parametrize("what", ["missing", "empty", "one_value", "no_orientation"])
def test_03_what_is_missing_is_never_invented_in_silence(
    made: Made, tmp_path: Path, what: str
) -> None:
    (line,), _, code = converted(made("03") / what, tmp_path)
    assert line["corrections"] or (line["reason"] and code == 1)
    assert not line["spacing_mm"].startswith("1 1")


@pytest.mark.parametrize("what", ["blank", "same"])
def test_04_patients_are_kept_apart(made: Made, tmp_path: Path, what: str) -> None:
    _, read, _ = converted(made("04") / what, tmp_path)
    first, second = sorted(read.values(), key=np.mean)
    np.testing.assert_array_equal(first, ball() + 100)
    np.testing.assert_array_equal(second, ball() + 1000)


@pytest.mark.parametrize("what", ["sagittal", "coronal"])
def test_05_contours_across_slices_are_refused(
    made: Made, tmp_path: Path, what: str
) -> None:
    lines, _, code = converted(made("05") / what, tmp_path)
    assert "contours of 'ball' do not lie in the slices' plane" in lines[1]["reason"]
    assert code == 1


@pytest.mark.parametrize("what", ["z", "xy"])
def test_07_what_lies_beyond_the_scan_is_cut_off(
    made: Made, tmp_path: Path, what: str
) -> None:
    lines, read, code = converted(made("07") / what, tmp_path, structures="GTV,BODY")
    labels = read[lines[1]["output"]]
    assert "cut off: " in lines[1]["corrections"]
    assert code == 0
    assert set(np.unique(labels[:, :, 5])) >= {1, 2}
    assert ((labels > 0).any(axis=(0, 1))).all()


@pytest.mark.parametrize(
    "what", ["no_series_reference", "stale_series_uid", "only_frame_of_reference"]
)
def test_08_stale_references_are_seen_through(
    made: Made, tmp_path: Path, what: str
) -> None:
    lines, read, _ = converted(made("08") / what, tmp_path)
    marked = read[lines[1]["output"]] == 1
    assert marked.any(axis=(0, 1)).tolist() == [False] * 4 + [True] * 3 + [False] * 3
    # 6 × 9 mm from pixel centre to pixel centre: at most one pixel more each way
    volume = marked.sum() * 0.6 * 0.8 * 2.5
    assert 405 - 1 <= volume <= 3 * 6.6 * 9.8 * 2.5
    assert lines[1]["corrections"].startswith("reference: ")


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("ct_monochrome1", ball()),
        ("empty_rescale", ball()),
        ("half_turned_slices", ball()),
        ("high_bit_15_stored_12", ball()),
        ("no_instance_number", ball()),
        ("pixel_spacing_flicker", ball()),
        ("position_flicker", ball()),
        ("slice_location_only", ball()),
    ],
)
def test_21_one_volume_with_its_values(
    made: Made, tmp_path: Path, what: str, expected: np.ndarray
) -> None:
    _, read, _ = converted(made("21") / what, tmp_path)
    np.testing.assert_array_equal(*read.values(), expected)


@pytest.mark.parametrize("jitter", ["0.0005", "0.002", "0.02"])
def test_21_echoes_are_two_volumes(made: Made, tmp_path: Path, jitter: str) -> None:
    _, read, _ = converted(made("21") / f"echo_jitter_{jitter}", tmp_path)
    for number, found in enumerate(read.values(), start=1):
        np.testing.assert_array_equal(found, ball() + 100 * number)
    assert len(read) == 2


@pytest.mark.parametrize("what", ["two_stations_apart", "two_stations_overlap"])
def test_21_stations_are_two_volumes(made: Made, tmp_path: Path, what: str) -> None:
    _, read, _ = converted(made("21") / what, tmp_path)
    joined = np.concatenate(list(read.values()), axis=2)
    np.testing.assert_array_equal(joined, ball())
    assert len(read) == 2


def test_21_each_slice_has_its_rescale(made: Made, tmp_path: Path) -> None:
    _, read, _ = converted(made("21") / "rescale_per_slice", tmp_path)
    (found,) = read.values()
    assert np.abs(found - ball()).max() < 2


@pytest.mark.parametrize(
    "end",
    ["img", "IMG", "hdr", "tif", "jpg", "nii", "mhd", "raw", "IMA", "dcm.bak", "0001"],
)
def test_27_content_tells_dicom(made: Made, tmp_path: Path, end: str) -> None:
    _, read, _ = converted(made("27") / end, tmp_path)
    np.testing.assert_array_equal(*read.values(), ball())
