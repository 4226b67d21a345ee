"""Units of length as image headers write them, in millimetres."""

_MM = {
    "m": 1000.0,
    "cm": 10.0,
    "mm": 1.0,
    "um": 1e-3,
    "µm": 1e-3,  # the micro sign
    "μm": 1e-3,  # the Greek letter
    "nm": 1e-6,
    "pm": 1e-9,
    "å": 1e-7,
    "in": 25.4,
    "inch": 25.4,
    "micron": 1e-3,
    "meter": 1000.0,
    "centimeter": 10.0,
    "millimeter": 1.0,
    "micrometer": 1e-3,
    "nanometer": 1e-6,
    "angstrom": 1e-7,
}


def millimetres_per(unit: str) -> float | None:
    """Millimetres in a unit, by its sign or English name; None for an unknown one."""
    plain = unit.strip().strip("\"'").lower().replace("\\u00b5", "µ")
    plain = plain.replace("metre", "meter")
    return _MM.get(plain, _MM.get(plain.removesuffix("s")))
