"""One page about a network: what it is, costs, sees and gets wrong."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.files import atomic_write, write_text
from medseg.networks.inspection import Inspection
from medseg.reporting.palette import PAPER_FAINT, PAPER_INK, STRUCTURE_COLORS
from medseg.reporting.text import format_columns

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1d2530; margin: 2rem auto;
       max-width: 70rem; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; font-size: 13px; }
th, td { padding: .2rem .7rem; text-align: right; border-bottom: 1px solid #e3e7ec; }
th:first-child, td:first-child { text-align: left; font-family: monospace; }
.advice { border-left: 4px solid #c62f3b; padding: .3rem 1rem; background: #fbf1f2; }
.fine { border-left: 4px solid #00b386; padding: .3rem 1rem; background: #effaf6; }
img { max-width: 100%; }
"""

Rows = Sequence[Sequence[str]]


def write_network_page(folder: Path, found: Inspection, *, title: str) -> Path:
    """Writes ``inspect.html`` and ``inspect.png``; the page needs no other file.

    Raises:
        OutputError: They cannot be written.
    """
    picture = _png(draw_network(found, title=title))
    with atomic_write(folder / "inspect.png") as temporary:
        temporary.write_bytes(picture)
    encoded = base64.b64encode(picture).decode("ascii")
    advice = "".join(f'<p class="advice">{html.escape(t)}</p>' for t in found.advice)
    page = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        f"<title>{html.escape(title)}</title><style>{STYLE}</style>",
        f"<h1>{html.escape(title)}</h1>",
        advice or '<p class="fine">Nothing to change.</p>',
        _table(("what", "value"), summary_rows(found)),
        f'<img alt="effective receptive field" src="data:image/png;base64,{encoded}">',
        f"<h2>Layers</h2>{_table(LAYER_HEADER, layer_rows(found))}",
        "</html>",
    ]
    path = folder / "inspect.html"
    write_text(path, "\n".join(page))
    return path


def format_inspection(found: Inspection) -> str:
    """The same as text for a terminal."""
    parts = [
        format_columns(LAYER_HEADER, layer_rows(found)),
        format_columns(("what", "value"), summary_rows(found)),
    ]
    parts += [f"! {text}" for text in found.advice]
    return "\n\n".join(parts)


LAYER_HEADER = (
    "layer",
    "kind",
    "kernel",
    "stride",
    "channels",
    "size",
    "sees",
    "params",
)


def layer_rows(found: Inspection) -> Rows:
    """One row per layer."""
    return [
        (
            layer.name,
            layer.kind,
            _times(layer.kernel),
            _times(layer.stride),
            str(layer.shape[0]),
            _times(layer.shape[1:]),
            _times(["all" if n is None else n for n in layer.field]) or "?",
            f"{layer.parameters:,}",
        )
        for layer in found.layers
    ]


def summary_rows(found: Inspection) -> Rows:
    """Costs, fields and artefacts."""
    costs, half, most, nearly = found.costs, *found.radii
    fields = found.theoretical.extent if found.theoretical else ()
    worst = max((coverage.variance for coverage in found.coverages), default=0.0)
    one, stride = found.shifts
    return [
        ("patch", f"{_times(found.patch_size)}, batch {found.batch_size}"),
        ("parameters", f"{costs.parameters:,} ({_megabytes(costs.parameter_bytes)})"),
        ("operations per voxel", f"{costs.flops_per_voxel:,.0f} FLOPs"),
        (
            f"memory for training ({found.precision})",
            f"{_megabytes(costs.training_bytes)} beyond weights and their gradients",
        ),
        (
            f"memory for inference ({found.precision})",
            f"{_megabytes(costs.inference_bytes)} beyond weights",
        ),
        (
            "receptive field",
            _times(["all" if n is None else n for n in fields]) or "not by arithmetic",
        ),
        (
            "effective receptive field",
            f"radius {half:.1f} / {most:.1f} / {nearly:.1f} voxels hold 50 / 90 / 99 %",
        ),
        ("largest coverage variance of an up-sampling", f"{worst:.3g}"),
        ("pattern on a constant image", f"{found.pattern:.2g} of the logits' spread"),
        (f"shift by {_times(one.shift)}", _shift(one.change, one.agreement)),
        (f"shift by {_times(stride.shift)}", _shift(stride.change, stride.agreement)),
    ]


def draw_network(found: Inspection, *, title: str) -> Figure:
    """The effective receptive field, its profile, and memory layer by layer."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4.2), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, color=PAPER_INK)
    left, middle, right = figure.subplots(1, 3)
    _draw_field(left, found)
    _draw_profiles(middle, found)
    _draw_sizes(right, found)
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
    for radius, style in zip(found.radii, ("-", "--", ":"), strict=True):
        axes.add_patch(
            Circle(centre, radius, fill=False, color="white", linestyle=style)
        )
    axes.set_title(
        "effective receptive field (root scale)\n50, 90 and 99 % of it", size=9
    )
    axes.set_xlabel("i, voxels")
    axes.set_ylabel("j, voxels")


def _draw_profiles(axes: Axes, found: Inspection) -> None:
    """Mass along each axis, with the theoretical field as bars below."""
    import numpy as np

    for axis, name in zip(range(found.field.ndim), "ijk", strict=False):
        others = tuple(a for a in range(found.field.ndim) if a != axis)
        profile = found.field.sum(axis=others)
        where = np.arange(len(profile)) - len(profile) // 2
        axes.plot(where, profile, color=STRUCTURE_COLORS[axis], label=name)
    axes.set_title("mass along each axis", size=9)
    axes.set_xlabel("distance from the centre, voxels")
    axes.legend(frameon=False)


def _draw_sizes(axes: Axes, found: Inspection) -> None:
    """Numbers that each layer puts out for one patch."""
    from math import prod

    sizes = [prod(layer.shape) / 1e6 for layer in found.layers]
    axes.bar(range(len(sizes)), sizes, color=PAPER_FAINT)
    axes.set_title("output of each layer, millions of numbers", size=9)
    axes.set_xlabel("layer, in order")


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()


def _table(header: Sequence[str], rows: Rows) -> str:
    head = "".join(f"<th>{html.escape(text)}</th>" for text in header)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(text)}</td>" for text in row) + "</tr>"
        for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def _times(numbers: Sequence[object]) -> str:
    return "×".join(str(number) for number in numbers)


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"


def _shift(change: float, agreement: float) -> str:
    return f"logits change by {change:.2g} of their spread, {agreement:.1%} keep class"
