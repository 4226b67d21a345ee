"""Colours of structures: told apart by colour-blind readers, readable on dark."""

from medseg.labels import LabelScheme

# Okabe and Ito, https://jfly.uni-koeln.de/color/, reordered so that the first two
# differ most on a dark ground; then lighter and darker shades for many structures.
STRUCTURE_COLORS = (
    "#E69F00",
    "#56B4E9",
    "#CC79A7",
    "#00B386",
    "#F0E442",
    "#D55E00",
    "#3D7FD9",
    "#F7C873",
    "#A5D8F3",
    "#E8BCD3",
    "#7FDCC0",
    "#A0522D",
)

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


def color_of(index: int) -> str:
    """Colour of the structure with an index, from 1; colours repeat after twelve."""
    return STRUCTURE_COLORS[(index - 1) % len(STRUCTURE_COLORS)]


def colors_of(scheme: LabelScheme) -> dict[str, str]:
    """Colour of each structure of a scheme."""
    return {name: color_of(n) for n, name in enumerate(scheme.structures, start=1)}
