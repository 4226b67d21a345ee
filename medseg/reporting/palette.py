"""Colours of pages and pictures."""

from medseg.labels import LabelScheme
from medseg.structure_colors import STRUCTURE_COLORS, color_of

__all__ = [
    "ALARM",
    "FAINT",
    "GROUND",
    "INK",
    "PAPER_FAINT",
    "PAPER_INK",
    "STRUCTURE_COLORS",
    "color_of",
    "colors_of",
]

GROUND = "#101318"
"""Behind scans."""
INK = "#E8EBEF"
"""Text on the dark ground."""
FAINT = "#8D96A3"
"""Less important text on the dark ground."""
PAPER_INK = "#1D2530"
"""Text and axes of plots on white."""
PAPER_FAINT = "#6B7685"
"""Less important text and grid lines of plots on white."""
ALARM = "#C62F3B"
"""What was missed or failed."""


def colors_of(scheme: LabelScheme) -> dict[str, str]:
    """Colour of each structure of a scheme."""
    return {name: color_of(n) for n, name in enumerate(scheme.structures, start=1)}
