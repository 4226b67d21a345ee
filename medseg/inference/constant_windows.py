"""Windows that hold one value alone, found before any is computed.

Air around a body that was clipped to one value, or a margin of zeros. Nothing is
assumed but that the network answers equal inputs equally, so that results do not
change when such a window is answered once.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from medseg.inference.border_padding import voxels_shown
from medseg.inference.tiling import Continuation, Tile

Values = tuple[float, ...]
"""What each channel of a window holds."""


def constant_values(
    image: Tensor, tiles: Sequence[Tile], beyond: Continuation
) -> list[Values | None]:
    """The values of each tile's input, None where it holds more than one.

    The least and largest value of all tiles are found axis by axis: tiles lie on a
    grid, so that their parts along an axis are few.

    Args:
        image: Shape (C, *spatial), on the host.
        tiles: What is asked about.
        beyond: What tiles show outside of the image.
    """
    if not tiles:
        return []
    axes = range(image.ndim - 1)
    parts = [sorted({_part(tile, axis) for tile in tiles}) for axis in axes]
    shown = [
        [voxels_shown(slice(*part), size, beyond) for part in along]
        for along, size in zip(parts, image.shape[1:], strict=True)
    ]
    low, high = (values.movedim(0, -1).numpy() for values in _extremes(image, shown))
    found: list[Values | None] = []
    for tile in tiles:
        keys = [_part(tile, axis) for axis in axes]
        place = tuple(part.index(key) for part, key in zip(parts, keys, strict=True))
        least, largest = low[place], high[place]
        is_padded = beyond == "zero" and any(
            start < 0 or stop > size
            for (start, stop), size in zip(keys, image.shape[1:], strict=True)
        )
        is_constant = bool((least == largest).all())
        if is_constant and not (is_padded and bool(least.any())):
            found.append(tuple(map(float, least)))
        else:
            found.append(None)
    return found


def _part(tile: Tile, axis: int) -> tuple[int, int]:
    return tile.source[axis].start, tile.source[axis].stop


def _extremes(image: Tensor, shown: list[list[slice]]) -> tuple[Tensor, Tensor]:
    """Least and largest values of all combinations of parts, (C, parts, ...).

    The axis that shrinks most goes first, so that little is held in between.
    """
    low = high = image
    axes = range(len(shown))
    for axis in sorted(axes, key=lambda a: len(shown[a]) / image.shape[a + 1]):
        low, high = (
            torch.stack(
                [find(values[_rows(axis, part)], axis + 1) for part in shown[axis]],
                dim=axis + 1,
            )
            for values, find in ((low, torch.amin), (high, torch.amax))
        )
    return low, high


def _rows(axis: int, part: slice) -> tuple[slice, ...]:
    return (*[slice(None)] * (axis + 1), part)
