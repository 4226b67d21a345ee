"""Settings as MLflow takes them: flat, short, with names it accepts."""

import posixpath
import re
from collections.abc import Mapping
from typing import Any

from medseg.files import hash_text

MAX_KEY = 250
"""Characters that MLflow allows in a name."""

MAX_VALUE = 500
"""Characters kept of a value; what is cut stands whole in the run's config.yaml."""

Scalar = str | float | int | bool

_NOT_ALLOWED = re.compile(r"[^\w\-./: ]")


def flatten_params(values: Mapping[str, Any], *, prefix: str = "") -> dict[str, Scalar]:
    """Nested settings with dotted names; lists become one short text.

    Args:
        values: Settings as plain values, such as a pydantic ``model_dump`` gives.
        prefix: Put before each name.
    """
    flat: dict[str, Scalar] = {}
    for key, value in values.items():
        name = f"{prefix}.{key}" if prefix else str(key)
        if isinstance(value, Mapping) and value:
            flat |= flatten_params(value, prefix=name)
        elif isinstance(value, (str, bool, int, float)):
            flat[name] = value
        else:
            flat[name] = _as_text(value)
    return flat


def _as_text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(str(item) for item in value) + "]"
    return str(value)


def clean_name(name: str) -> str:
    """A name as MLflow allows it; different names stay different.

    Letters of any script are kept. A name that has to change, since it holds other
    characters, is no path that stands for itself, or is too long, gets four digits of
    its hash behind it: grade<3 and grade>3 are two metrics.
    """
    kept = _NOT_ALLOWED.sub("_", name)
    is_path = posixpath.normpath(kept) == kept and not kept.startswith(("/", ".."))
    if kept == name != "." and is_path and len(name) <= MAX_KEY:
        return name
    if not is_path:
        kept = kept.replace("/", "_").lstrip(".")
    digits = hash_text(name)[:4]
    return f"{kept[: MAX_KEY - len(digits) - 1]}_{digits}"


def clean_value(value: Scalar) -> str:
    """A value as text; the cut of a long one shows."""
    text = str(value)
    return text if len(text) <= MAX_VALUE else f"{text[: MAX_VALUE - 1]}…"
