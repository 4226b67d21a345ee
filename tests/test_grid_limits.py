"""Resampled grids are weighed before they are made."""

import numpy as np
import pytest

from medseg.errors import GeometryError
from medseg.grid_limits import require_grid_size
from medseg.io.straight import straightened
from medseg.volume import Volume

ASK = {"measured": (30, 30, 30), "what": "scan"}


@pytest.mark.parametrize(
    "shape", [(900, 900, 900), (30, 30, 30_000), (15_000, 30, 30), (10**9, 1, 1)]
)
def test_growth_is_limited(shape: tuple[int, int, int]) -> None:
    with pytest.raises(GeometryError, match="scan: 27000 voxels would become"):
        require_grid_size(shape, **ASK)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(30, 30, 30), (160, 160, 160), (180, 180, 180)])
def test_usual_grids_pass(shape: tuple[int, int, int]) -> None:
    require_grid_size(shape, **ASK)  # type: ignore[arg-type]


def test_memory_is_limited_by_the_budget() -> None:
    ask = {"measured": (200, 200, 200), "what": "scan"}
    require_grid_size((300, 300, 300), **ask, memory_bytes=10**9)  # type: ignore[arg-type]
    with pytest.raises(GeometryError, match=r"takes 0\.2 GB, 0\.1 GB may be taken"):
        require_grid_size((300, 300, 300), **ask, memory_bytes=10**8)  # type: ignore[arg-type]


def test_a_steep_shear_is_refused_before_it_is_put_straight() -> None:
    affine = np.eye(4)
    affine[0, 2] = 500
    volume = Volume(np.zeros((1, 30, 30, 30), np.int16), affine)
    with pytest.raises(GeometryError, match="a sheared grid put straight"):
        straightened(volume)
