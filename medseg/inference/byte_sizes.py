"""Numbers of bytes as people write them."""

import re

from medseg.errors import SettingsError

_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


def parse_bytes(text: str) -> int:
    """A number of bytes from text such as ``8g``, ``500m`` or ``2.5 GB``.

    Raises:
        SettingsError: The text is not a size.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?\s*", text.lower())
    size = float(match[1]) * _UNITS[match[2]] if match else 0.0
    if size < 1:
        raise SettingsError(f"memory size {text!r}: expected one such as 8g or 500m")
    return int(size)


def in_words(size: float) -> str:
    """A number of bytes as people write it, such as ``"7.5g"``."""
    if size >= 2**30:
        return f"{size / 2**30:.3g}g"
    return f"{max(size / 2**20, 1):.0f}m"
