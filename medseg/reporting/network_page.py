"""One page about a network: what it is, costs, sees and gets wrong."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.files import atomic_write, write_text
from medseg.networks.analysis.advice import advise
from medseg.networks.analysis.inspection import Inspection
from medseg.networks.analysis.shift import ShiftFinding
from medseg.pages import data_uri, render
from medseg.reporting.html_table import Cell, Table, make_table
from medseg.reporting.network_picture import draw_network
from medseg.reporting.text import format_columns

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SECTIONS = {
    "advice": "Advice",
    "summary": "In numbers",
    "sees": "What it sees",
    "layers": "Layers",
}

TableRows = Sequence[Sequence[str]]


def write_network_page(folder: Path, found: Inspection, *, title: str) -> Path:
    """Writes ``inspect.html`` and ``inspect.png``; the page needs no other file.

    Raises:
        OutputError: They cannot be written.
    """
    picture = _png(draw_network(found, title=title))
    with atomic_write(folder / "inspect.png") as temporary:
        temporary.write_bytes(picture)
    path = folder / "inspect.html"
    page = render(
        "network.html",
        title=title,
        subtitle="What the network is, costs, sees and gets wrong.",
        figures={},
        warnings=(),
        sections=SECTIONS,
        advice=advise(found),
        picture=data_uri(folder / "inspect.png"),
        summary=_table(("what", "value"), summary_rows(found), num_texts=2),
        layers=_table(LAYER_HEADER, layer_rows(found), num_texts=2),
    )
    write_text(path, page)
    return path


def format_inspection(found: Inspection) -> str:
    """The same as text for a terminal."""
    parts = [
        format_columns(LAYER_HEADER, layer_rows(found)),
        format_columns(("what", "value"), summary_rows(found)),
    ]
    parts += [f"! {text}" for text in advise(found)]
    return "\n\n".join(parts)


LAYER_HEADER = (
    "layer",
    "kind",
    "kernel",
    "stride",
    "dilation",
    "channels",
    "size",
    "sees",
    "params",
)


def layer_rows(found: Inspection) -> TableRows:
    """One row per layer."""
    return [
        (
            layer.name,
            layer.kind,
            _times(layer.kernel),
            _times(layer.stride),
            _times(layer.dilation) if set(layer.dilation) - {1} else "",
            str(layer.shape[0]),
            _times(layer.shape[1:]),
            _times(["all" if n is None else n for n in layer.field])
            or ("" if layer.kind == "cat" else "?"),
            f"{layer.parameters:,}",
        )
        for layer in found.layers
    ]


def summary_rows(found: Inspection) -> TableRows:
    """Costs, fields and artefacts."""
    costs, half, most, nearly = found.costs, *found.radii
    fields = found.theoretical.extent if found.theoretical else ()
    state = "trained" if found.trained else "fresh weights"
    return [
        ("patch", f"{_times(found.patch_size)}, batch {found.batch_size}"),
        *_unpadded(found),
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
        *_held_statistics(found),
        ("largest coverage variance of an up-sampling", _coverage(found)),
        (
            f"pattern on a constant image, {state}",
            "not measurable: to the network it is unlike any image"
            if found.is_pattern_beyond
            else f"{found.pattern:.2g} of the logits' spread",
        ),
        *[row for shift in found.shifts for row in _shift_rows(shift, state)],
    ]


def _unpadded(found: Inspection) -> TableRows:
    """What unpadded convolutions leave of a patch."""
    if not any(found.output_margin):
        return []
    size = _times(found.patch_size)
    margins = zip(found.patch_size, found.output_margin, strict=True)
    wide = [n + 2 * margin for n, margin in margins]
    mirrored = f"in use {_times(wide)} in, by mirrored borders, {size} out"
    if found.output_size is None:
        return [("unpadded", mirrored)]
    return [("unpadded", f"{size} in, {_times(found.output_size)} out; {mirrored}")]


def _held_statistics(found: Inspection) -> TableRows:
    """How much of what is seen comes through the statistics of normalizations."""
    if found.held_radii == found.radii:
        return []
    half, most, nearly = found.held_radii
    return [
        (
            "the same with statistics held",
            f"radius {half:.1f} / {most:.1f} / {nearly:.1f} voxels; as they see the "
            f"whole patch, {found.beyond:.1%} of it lies beyond the receptive field",
        )
    ]


def _coverage(found: Inspection) -> str:
    worst = max(found.coverages, key=lambda c: c.variance, default=None)
    if worst is None or worst.variance == 0:
        return "0"
    return f"{worst.variance:.3g} of the squared mean (absolute: {worst.absolute:.3g})"


def _shift_rows(found: ShiftFinding, state: str) -> TableRows:
    name = f"shift by {_times(found.shift)}"
    if found.theory is not None:
        theory = _shift(found.theory.change, found.theory.agreement)
    elif found.needed is None:
        theory = "not measurable: every voxel sees the whole image"
    else:
        theory = f"not measurable here: takes a window of {_times(found.needed)}"
    real = "not measurable: the patch is too small for it"
    if found.real is not None:
        real = _shift(found.real.change, found.real.agreement)
    return [
        (f"{name}, away from borders, statistics held, {state}", theory),
        (f"{name}, between two patches as they are answered, {state}", real),
    ]


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()


def _table(header: Sequence[str], rows: TableRows, *, num_texts: int) -> Table:
    """A table whose first columns are text, aligned to the left."""
    cells = [
        [
            Cell(text, style="text" if n < num_texts else "number")
            for n, text in enumerate(row)
        ]
        for row in rows
    ]
    return make_table(header, cells, plain=True)


def _times(numbers: Sequence[object]) -> str:
    return "×".join(str(number) for number in numbers)


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"


def _shift(change: float, agreement: float) -> str:
    return f"logits change by {change:.2g} of their spread, {agreement:.1%} keep class"
