"""Channels that lie on another grid than the label maps, and so are no input as is.

Public data sets give scans as acquired beside registered ones. A network needs all
channels on one grid.
"""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from medseg.datasets.pairing import Pair, Pairs
from medseg.errors import InputError
from medseg.geometry import Grid, reorientation_between
from medseg.io import GeometryWarning, find_scans
from medseg.reading import read_grid

_LOOKED_AT = 3


def without_off_grid(pairs: Pairs) -> tuple[Pairs, tuple[str, ...]]:
    """The pairs without channels that lie elsewhere in the first cases, and those.

    Nothing is left out where no channel lies on the label maps' grid.
    """
    if len(pairs.channels) < 2:
        return pairs, ()
    seen = [on_grid for pair in pairs.pairs[:_LOOKED_AT] if (on_grid := _on_grid(pair))]
    kept = [
        number
        for number in range(len(pairs.channels))
        if not seen or any(on_grid[number] for on_grid in seen)
    ]
    if not kept or len(kept) == len(pairs.channels):
        return pairs, ()
    left = tuple(
        name for number, name in enumerate(pairs.channels) if number not in kept
    )
    return only_channels(pairs, kept), left


def only_channels(pairs: Pairs, kept: Sequence[int]) -> Pairs:
    """The pairs with some of their channels, in the order given."""
    return replace(
        pairs,
        channels=tuple(pairs.channels[number] for number in kept),
        pairs=tuple(
            replace(pair, images=tuple(pair.images[number] for number in kept))
            for pair in pairs.pairs
        ),
    )


def _on_grid(pair: Pair) -> list[bool] | None:
    """Whether each image lies on the label map's grid; None where it is unknown."""
    label = _grid_or_none(pair.label)
    grids = [_grid_or_none(path) for path in pair.images]
    if label is None or any(grid is None for grid in grids):
        return None
    return [
        grid is not None and reorientation_between(grid, label) is not None
        for grid in grids
    ]


def _grid_or_none(path: Path) -> Grid | None:
    with warnings.catch_warnings():  # said when the scan itself is read
        warnings.simplefilter("ignore", GeometryWarning)
        try:
            file = find_scans(path)[0] if path.is_dir() else path
            return read_grid(file, allow_shear=True)
        except (InputError, IndexError):
            return None
