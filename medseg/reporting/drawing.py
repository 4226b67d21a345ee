"""Draws panels: scan below, reference as a fill, prediction as a line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from medseg.instances.object_colouring import neighbours
from medseg.instances.object_palette import object_colours
from medseg.reporting.palette import GROUND, INK, color_of
from medseg.reporting.panels import Panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OBJECT_FILL = 2
OBJECT_LINE = 1
"""Palette entries for the objects of reference and prediction."""
_LINE_SHARE = 350
"""Of a panel's side, the reach of an object's line to either side."""
_FILL = 0.42
_HEADROOM = 1.15
"""Grey value that would be white: below it colours stay clear of what is bright."""
_LETTER_PLACES = (
    (0.02, 0.5, "left", "center"),
    (0.98, 0.5, "right", "center"),
    (0.5, 0.98, "center", "top"),
    (0.5, 0.02, "center", "bottom"),
)


def draw_panel(
    axes: Axes,
    panel: Panel,
    *,
    objects: bool,
    labels: bool = True,
    frame: bool = False,
    letters: bool = True,
    line_width: float = 1.4,
) -> None:
    """Draws one panel.

    Args:
        axes: Where to.
        panel: What.
        objects: Whether label numbers are objects rather than structures.
        labels: Whether label maps are drawn, or the scan alone.
        frame: Whether the window of the closer look is marked.
        letters: Whether sides of the body are named, where they are known.
        line_width: Of the prediction's line, in points.
    """
    axes.set_facecolor(GROUND)
    axes.imshow(
        panel.image,
        cmap="gray",
        vmin=0,
        vmax=_HEADROOM,
        aspect=panel.aspect,
        interpolation="nearest" if panel.plane == "picture" else "bicubic",
    )
    if labels and objects:
        _draw_objects(axes, panel)
    elif labels:
        _draw_structures(axes, panel, line_width=line_width)
    if frame and panel.window is not None:
        _draw_frame(axes, panel.window)
    _draw_letters(axes, panel.letters if letters else "")
    rows, columns = panel.prediction.shape
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_ylim(rows - 0.5, -0.5)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def _draw_structures(axes: Axes, panel: Panel, *, line_width: float) -> None:
    from matplotlib.patheffects import Normal, Stroke

    filled = panel.prediction if panel.reference is None else panel.reference
    _draw_fill(axes, filled, panel.aspect)
    halo = [Stroke(linewidth=line_width + 1.4, foreground=GROUND, alpha=0.8), Normal()]
    for index in np.unique(panel.prediction):
        if index == 0:
            continue
        # A margin closes lines that would end at the border of the panel.
        mask = np.pad(panel.prediction == index, 1).astype(np.float32)
        rows, columns = (np.arange(size) - 1 for size in mask.shape)
        axes.contour(
            columns,
            rows,
            mask,
            levels=[0.5],
            colors=[color_of(int(index))],
            linewidths=line_width,
        ).set_path_effects(halo)


def _draw_fill(axes: Axes, labels: np.ndarray, aspect: float) -> None:
    from matplotlib.colors import to_rgba

    layer = np.zeros((*labels.shape, 4))
    for index in np.unique(labels):
        if index:
            layer[labels == index] = to_rgba(color_of(int(index)), _FILL)
    axes.imshow(layer, aspect=aspect, interpolation="nearest")


def _draw_objects(axes: Axes, panel: Panel) -> None:
    """Objects that touch stay apart: the border of each is drawn in sub-pixels.

    Without a reference each has a colour of its own, unlike its neighbours'.
    """
    from matplotlib.colors import to_rgba
    from scipy.ndimage import grey_dilation

    finer = max(1, min(4, 1200 // max(panel.prediction.shape)))
    rows, columns = panel.prediction.shape
    layer = np.zeros((rows * finer, columns * finer, 4))
    if panel.reference is not None:
        reference = _enlarge(panel.reference, finer)
        inside = (reference > 0) & ~_borders(reference)
        layer[inside] = to_rgba(color_of(OBJECT_FILL), _FILL)
    numbers = _enlarge(panel.prediction, finer)
    lines = _borders(numbers)
    width = max(1, max(lines.shape) // _LINE_SHARE)
    spread = grey_dilation(np.where(lines, numbers, 0), size=2 * width + 1)
    if panel.reference is None:
        layer[..., :3] = _colours_of(panel.prediction)[spread] / 255
        layer[..., 3] = spread > 0
    else:
        layer[spread > 0] = to_rgba(color_of(OBJECT_LINE), 1.0)
    axes.imshow(
        layer,
        extent=(-0.5, columns - 0.5, rows - 0.5, -0.5),
        aspect=panel.aspect,
        interpolation="antialiased",
    )


def _colours_of(numbers: np.ndarray) -> np.ndarray:
    """Red, green and blue by object number, shape (largest number + 1, 3)."""
    values, places = np.unique(numbers, return_inverse=True)
    compact = places.reshape(*numbers.shape, 1) + (1 if values[0] else 0)
    count = int(compact.max())
    colours = np.zeros((int(values[-1]) + 1, 3), np.uint8)
    found = object_colours(count, neighbours(compact, flat=True))
    colours[values[values > 0]] = found[1:]
    return colours


def _enlarge(labels: np.ndarray, times: int) -> np.ndarray:
    return labels.repeat(times, axis=0).repeat(times, axis=1)


def _borders(labels: np.ndarray) -> np.ndarray:
    from skimage.segmentation import find_boundaries

    found = find_boundaries(labels, mode="inner")  # type: ignore[no-untyped-call]
    return np.asarray(found)


def _draw_frame(axes: Axes, window: tuple[slice, slice]) -> None:
    from matplotlib.patches import Rectangle

    rows, columns = window
    axes.add_patch(
        Rectangle(
            (columns.start - 0.5, rows.start - 0.5),
            columns.stop - columns.start,
            rows.stop - rows.start,
            fill=False,
            edgecolor=INK,
            linewidth=0.9,
            linestyle=(0, (4, 3)),
        )
    )


def _draw_letters(axes: Axes, letters: str) -> None:
    from matplotlib.patheffects import Normal, Stroke

    halo = [Stroke(linewidth=2.0, foreground=GROUND), Normal()]
    for letter, (x, y, across, along) in zip(letters, _LETTER_PLACES, strict=False):
        axes.text(
            x,
            y,
            letter,
            transform=axes.transAxes,
            ha=across,
            va=along,
            color=INK,
            fontsize=8,
            fontweight="bold",
            path_effects=halo,
        )
