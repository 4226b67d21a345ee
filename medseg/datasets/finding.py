"""What is wrong with a data set, one thing at a time."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Severity = Literal["error", "warning"]

FindingKind = Literal[
    "missing",
    "unreadable",
    "geometry",
    "header",
    "channels",
    "shape",
    "spacing",
    "origin",
    "direction",
    "not finite",
    "constant",
    "one axis",
    "equal channels",
    "label values",
    "label type",
    "empty label",
    "lone image",
    "lone label",
    "same scan",
    "same label",
    "folds",
    "checksum",
]


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, where, and what to do about it."""

    case_id: str
    """The case; several are separated by commas, none is empty."""
    file: Path | None
    """The file, where one is to blame."""
    kind: FindingKind
    message: str
    """What was expected and what was found."""
    repair: str
    """What to do; nothing is done by itself."""
    severity: Severity
    """An error spoils training or scores; a warning may be meant."""
