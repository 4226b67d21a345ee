"""Colours of structures: told apart by colour-blind readers, readable on dark.

The same ones in pictures, pages and DICOM objects.
"""

import colorsys

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

_HUE_STEP = 0.0901699
_LIGHTNESS = (0.35, 0.5, 0.65, 0.8)
_SATURATION = (0.95, 0.6, 0.35)
"""Of further structures; chosen so that of 128 colours the two most alike are as far
apart as can be (6.4 in CIELab)."""


def color_of(index: int) -> str:
    """Colour of the structure with an index, from 1, such as ``"#E69F00"``."""
    number = index - 1 - len(STRUCTURE_COLORS)
    if number < 0:
        return STRUCTURE_COLORS[index - 1]
    row = number // len(_LIGHTNESS)
    lightness = _LIGHTNESS[number % len(_LIGHTNESS)]
    saturation = _SATURATION[row % len(_SATURATION)]
    hue = number * _HUE_STEP % 1
    red, green, blue = colorsys.hls_to_rgb(hue, lightness, saturation)
    return f"#{round(255 * red):02X}{round(255 * green):02X}{round(255 * blue):02X}"


def rgb_of(index: int) -> tuple[int, int, int]:
    """The same colour as red, green and blue from 0 to 255."""
    red, green, blue = bytes.fromhex(color_of(index)[1:])
    return red, green, blue
