"""What a network sees and what it holds, as a picture."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from medseg.networks.analysis.inspection import Inspection
from medseg.reporting.palette import PAPER_FAINT, PAPER_INK, STRUCTURE_COLORS
from medseg.reporting.plots import style_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RING_STYLES = ("-", "--", ":")
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


def draw_network(found: Inspection, *, title: str) -> Figure:
    """The effective receptive field, its profile, and both sizes layer by layer."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 8.6), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, color=PAPER_INK)
    (field, profiles), (seen, held) = figure.subplots(2, 2)
    _draw_field(field, found)
    _draw_profiles(profiles, found)
    _draw_seen(seen, found)
    _draw_held(held, found)
    return figure


def _draw_field(axes: Axes, found: Inspection) -> None:
    """The plane through the centre along the first two axes, brightest at 1."""
    import numpy as np
    from matplotlib.patches import Circle

    field = found.field
    if field.ndim == 3:
        field = field[..., field.shape[2] // 2]
    axes.imshow(np.sqrt(field / field.max()).T, origin="lower", cmap="magma")
    centre = (field.shape[0] // 2, field.shape[1] // 2)
    for radius, share, style in zip(
        found.radii, ("50 %", "90 %", "99 %"), RING_STYLES, strict=True
    ):
        label = f"{share} within {radius:.0f} voxels"
        ring = Circle(
            centre, radius, fill=False, color="white", linestyle=style, label=label
        )
        axes.add_patch(ring)
    axes.legend(
        loc="upper left",
        bbox_to_anchor=(1.02, 1),
        borderaxespad=0,
        facecolor="#3b3550",
        labelcolor="white",
        fontsize=8,
    )
    style_axes(axes, title="what one voxel of the answer looks at (root scale)")
    axes.grid(visible=False)
    axes.set_xlabel("i, voxels")
    axes.set_ylabel("j, voxels")


def _draw_profiles(axes: Axes, found: Inspection) -> None:
    """Mass along each axis, with the theoretical field as a span where it ends."""
    import numpy as np

    for axis, name in zip(range(found.field.ndim), "ijk", strict=False):
        others = tuple(a for a in range(found.field.ndim) if a != axis)
        profile = found.field.sum(axis=others)
        where = np.arange(len(profile)) - len(profile) // 2
        axes.plot(where, profile, color=STRUCTURE_COLORS[axis], label=f"along {name}")
    limit = found.theoretical.radius[0] if found.theoretical else None
    half = found.patch_size[0] // 2
    if limit is not None and limit < half:
        axes.axvspan(
            -limit, limit, color=PAPER_FAINT, alpha=0.15, label="theoretical field, i"
        )
    axes.set_ylim(bottom=0)
    style_axes(axes, title="effective receptive field: share of the mass in each plane")
    axes.set_xlabel("distance from the centre, voxels")
    axes.legend(frameon=False, fontsize=8)


def _draw_seen(axes: Axes, found: Inspection) -> None:
    """Receptive field of each layer against the size of the patch."""
    for axis, name in zip(range(found.field.ndim), "ijk", strict=False):
        places, seen = [], []
        for place, layer in enumerate(found.layers):
            if layer.field and layer.field[axis] is not None:
                places.append(place)
                seen.append(layer.field[axis])
        color = STRUCTURE_COLORS[axis]
        axes.plot(places, seen, ".-", color=color, label=f"along {name}")  # type: ignore[arg-type]
        size = found.patch_size[axis]
        axes.axhline(size, color=color, linestyle=":", linewidth=1)
    axes.set_ylim(bottom=0)
    style_axes(axes, title="voxels that each layer sees (dotted: the patch)")
    axes.set_xlabel("layer, in order")
    axes.locator_params(axis="x", integer=True)
    axes.legend(frameon=False, fontsize=8)


def _draw_held(axes: Axes, found: Inspection) -> None:
    """Memory of each layer's output for a batch."""
    item = BYTES[found.precision] * found.batch_size
    sizes = [prod(layer.shape) * item / 1e6 for layer in found.layers]
    axes.bar(range(len(sizes)), sizes, color=PAPER_FAINT)
    style_axes(axes, title=f"output of each layer for a batch, MB in {found.precision}")
    axes.set_xlabel("layer, in order")
    axes.locator_params(axis="x", integer=True)
