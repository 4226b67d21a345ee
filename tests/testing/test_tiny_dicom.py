"""The DICOM series that tutorials use is the volume that it was made of."""

from pathlib import Path

import numpy as np
import pytest

from medseg.io import read_volume
from medseg.testing.tiny_dicom import make_tiny_dicom
from medseg.volume import Volume


@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, -1, 1), (-1, 1, 1)])
def test_the_series_is_read_as_the_volume(tmp_path: Path, signs):
    voxels = np.random.default_rng(0).integers(-900, 900, (1, 7, 6, 5))
    affine = np.diag([0.5 * signs[0], 0.8 * signs[1], 2.5 * signs[2], 1.0])
    affine[:3, 3] = (-10, 20, 5)
    volume = Volume(voxels.astype(np.float32), affine)
    found = read_volume(make_tiny_dicom(tmp_path / "dicom", volume))
    assert len(list((tmp_path / "dicom").iterdir())) == 5
    for index in np.ndindex(7, 6, 5):  # at each voxel's place in the world
        place = affine @ [*index, 1]
        there = np.rint(np.linalg.inv(found.affine) @ place)[:3].astype(int)
        assert found.voxels[0][tuple(there)] == voxels[0][index]


def test_what_no_series_holds_is_refused(tmp_path: Path):
    two = Volume(np.zeros((2, 4, 4, 4), np.float32), np.eye(4))
    with pytest.raises(ValueError, match="one channel"):
        make_tiny_dicom(tmp_path, two)
