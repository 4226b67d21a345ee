"""The record of what a reader changed or had to decide."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Correction:
    """One thing that differs from copying the stored pixels."""

    kind: str
    """One word, such as ``"tilt"``, ``"gaps"``, ``"duplicates"``."""
    detail: str
    """One sentence with its numbers."""
    is_repair: bool = False
    """Whether the series was at fault, so that a strict reader refuses it."""

    def __str__(self) -> str:
        """The word and the sentence."""
        return f"{self.kind}: {self.detail}"
