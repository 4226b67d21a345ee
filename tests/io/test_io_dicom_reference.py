"""Every series of the real data against its reference, voxel by voxel in the world."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / ".." / "shared" / "data" / "dicom"
sys.path.insert(0, str(ROOT / "benchmarks"))

from dicom_references import Row, compare  # noqa: E402

from medseg.io.dicom import find_series  # noqa: E402

pytestmark = pytest.mark.skipif(not DATA.exists(), reason="no shared data here")
CASES = sorted(path.name for path in DATA.iterdir()) if DATA.exists() else []


def rows_of(case: str) -> list[Row]:
    volumes = find_series(DATA / case / "dicom").volumes
    references = sorted((DATA / case).glob("reference*.nii.gz"))
    return [row for path in references for row in compare(case, volumes, path)]


@pytest.mark.parametrize("case", CASES)
def test_series_agrees_with_its_reference(case: str) -> None:
    rows = rows_of(case)
    assert rows
    for row in rows:
        if "corrected" in row.compared:
            assert row.share_equal > 0.99
            assert row.mean_difference < 0.5
        else:
            assert row.share_equal == 1.0
        if "voxels_only" not in row.compared:
            assert row.affine_error_mm < 1e-3
