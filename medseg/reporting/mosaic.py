"""Many cases side by side, from worst to best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.errors import InputError
from medseg.labels import LabelScheme
from medseg.reporting.drawing import draw_panel
from medseg.reporting.figures import (
    add_cells,
    dark_figure,
    draw_legend,
    legend_height,
    save_figure,
)
from medseg.reporting.palette import FAINT, GROUND, INK
from medseg.reporting.panels import Panel, cut_panels, main_panel
from medseg.volume import LabelMap, Volume

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CELL = 2.5
_GAP = 0.1
_TOP = 0.5
_WORDS = 0.42
_INSET = 0.42
"""Side of the closer look, as a share of the tile's."""


@dataclass(frozen=True)
class MosaicTile:
    """One case of a mosaic; small, so that many fit into memory."""

    panel: Panel
    title: str
    """The case."""
    detail: str = ""
    """Its score, and why it is shown."""


def make_tile(
    volume: Volume,
    *,
    prediction: LabelMap,
    reference: LabelMap | None,
    scheme: LabelScheme,
    title: str,
    detail: str = "",
) -> MosaicTile:
    """The plane of a case that shows most: the whole slice, its structures closer.

    Raises:
        GridMismatchError: A label map does not lie on the scan's grid.
    """
    panels = cut_panels(
        volume, prediction=prediction, reference=reference, scheme=scheme
    )
    return MosaicTile(main_panel(panels), title, detail)


def write_mosaic(
    path: Path,
    tiles: Sequence[MosaicTile],
    *,
    scheme: LabelScheme,
    title: str = "",
    columns: int = 6,
) -> None:
    """Writes a PNG with a cell for each tile, in the order given.

    Raises:
        InputError: There is no tile.
        OutputError: The file cannot be written.
    """
    if not tiles:
        raise InputError(f"{path}: no case to show")
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    heights = [_CELL + _WORDS] * rows
    width = max(columns * (_CELL + _GAP) + _GAP, 5.2)
    top = _TOP if title else _GAP
    bottom = legend_height(scheme, width=width) + 0.15
    figure = dark_figure(width, top + sum(heights) + rows * _GAP + bottom)
    cells = add_cells(figure, heights, columns, top=top, gap=_GAP)
    boxes = [box for row in cells for box in row]
    for tile, box in zip(tiles, boxes, strict=False):
        _draw_tile(figure, tile, box, objects=scheme.instances)
    if title:
        x, y = _GAP / width, 1 - 0.26 / figure.get_figheight()
        figure.text(x, y, title, color=INK, fontsize=12, fontweight="bold", va="center")
    with_reference = any(tile.panel.reference is not None for tile in tiles)
    draw_legend(figure, scheme, with_reference=with_reference, y=bottom / 2)
    save_figure(figure, path)


def write_tile(path: Path, tile: MosaicTile, *, scheme: LabelScheme) -> None:
    """Writes the picture of one tile alone, as a small square PNG.

    Raises:
        OutputError: The file cannot be written.
    """
    figure = dark_figure(_CELL, _CELL)
    axes = figure.add_axes((0, 0, 1, 1))
    _draw_slice(figure, axes, tile.panel, objects=scheme.instances)
    save_figure(figure, path)


def _draw_slice(figure: Figure, axes: Axes, panel: Panel, *, objects: bool) -> None:
    """The whole slice with the crop marked, and the crop in the corner farthest off."""
    draw_panel(axes, panel, objects=objects, frame=True, line_width=1.1)
    if panel.window is None:
        return
    rows, columns = panel.prediction.shape
    middle = [(part.start + part.stop) / 2 for part in panel.window]
    x = 1 - _INSET if middle[1] < columns / 2 else 0.0
    y = 0.0 if middle[0] < rows / 2 else 1 - _INSET
    box = axes.get_position()
    close = figure.add_axes(
        (
            box.x0 + x * box.width,
            box.y0 + y * box.height,
            _INSET * box.width,
            _INSET * box.height,
        )
    )
    draw_panel(close, panel.closer(), objects=objects, letters=False, line_width=1.3)
    for spine in close.spines.values():
        spine.set(visible=True, edgecolor=INK, linewidth=0.9)


def _draw_tile(
    figure: Figure,
    tile: MosaicTile,
    box: tuple[float, float, float, float],
    *,
    objects: bool,
) -> None:
    x, y, width, height = box
    words = _WORDS / figure.get_figheight()
    axes = figure.add_axes((x, y + words, width, height - words), facecolor=GROUND)
    _draw_slice(figure, axes, tile.panel, objects=objects)
    detail = ", ".join(part for part in (tile.detail, tile.panel.channel) if part)
    lines = ((tile.title, INK, 9, 0.68), (detail, FAINT, 8, 0.24))
    for text, color, size, level in lines:
        figure.text(x, y + words * level, text, color=color, fontsize=size, va="center")
