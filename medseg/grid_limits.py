"""How large a resampled grid may be, asked before it is made.

A header of a few bytes can place voxels metres apart; resampled to millimetres the
scan would hold the machine for hours. Memory is one limit. The other is growth: an
interpolated scan of many more voxels than were measured shows nothing more.
"""

import math
from collections.abc import Sequence

from medseg.errors import GeometryError

MOST_GROWTH = 256
"""Times the measured voxels: more than six-fold along each of three axes."""
SMALL = 1 << 22
"""Voxels that a grid may always have."""
FREE_SHARE = 0.8
"""Of the machine's free memory, what is taken where no budget is given."""
_BYTES, _COPIES = 4, 2


def require_grid_size(
    shape: Sequence[int],
    *,
    measured: Sequence[int],
    what: str,
    num_channels: int = 1,
    memory_bytes: int | None = None,
) -> None:
    """Refuses a grid that nobody wants resampled onto.

    Args:
        shape: Of the grid.
        measured: Of the voxels that are resampled.
        what: Begins the message: the scan, and why it would be resampled.
        num_channels: Of the scan.
        memory_bytes: That the resampled scan may take; by default a share of what is
            free.

    Raises:
        GeometryError: It is too large; the message says what to do.
    """
    voxels, before = math.prod(map(int, shape)), math.prod(map(int, measured))
    size = " × ".join(str(int(n)) for n in shape)
    if voxels > max(SMALL, MOST_GROWTH * before):
        raise GeometryError(
            f"{what}: {before} voxels would become {size}, more than {MOST_GROWTH} "
            "times as many; is the header's geometry right? If it is, resample the "
            "scan first"
        )
    needed = voxels * num_channels * _BYTES * _COPIES
    allowed = _free() if memory_bytes is None else memory_bytes
    if needed > allowed:
        raise GeometryError(
            f"{what}: a grid of {size} voxels takes {needed / 1e9:.1f} GB, "
            f"{max(allowed, 0) / 1e9:.1f} GB may be taken; is the header's geometry "
            "right? If it is, crop the scan or allow more memory"
        )


def _free() -> int:
    import psutil

    return int(FREE_SHARE * psutil.virtual_memory().available)
