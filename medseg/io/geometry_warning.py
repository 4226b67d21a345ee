"""What a reader says when it had to choose or repair a geometry."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medseg.errors import GeometryError
from medseg.geometry import (
    ORTHONORMAL_TOLERANCE,
    check_affine,
    orthonormality_error,
    repair_affine,
)
from medseg.types import Affine

ROUNDING_TOLERANCE = 1e-5
"""Departure from orthonormality that header rounding explains; left as it is."""


class GeometryWarning(UserWarning):
    """A scan's geometry was repaired, or its header contradicts itself.

    A caller that keeps a record per scan collects these with
    ``warnings.catch_warnings(record=True)`` or, where several threads read, with
    `recorded_geometry`.
    """


class GeometryNotes(list[str]):
    """What readers said of a scan's geometry, a text a note."""

    def __init__(self) -> None:
        super().__init__()
        self.guessed: list[str] = []
        """Those of the notes that say what was guessed, and not what a header says."""


_LOCAL = threading.local()


@contextmanager
def recorded_geometry() -> Iterator[GeometryNotes]:
    """What is said inside the `with` block by this thread, instead of a warning.

    The filters of `warnings` belong to the whole process; this belongs to a thread.
    """
    outer = getattr(_LOCAL, "messages", None)
    messages = GeometryNotes()
    _LOCAL.messages = messages
    try:
        yield messages
    finally:
        _LOCAL.messages = outer


def warn_geometry(source: Path, message: str, *, guessed: bool = False) -> None:
    """Issues a `GeometryWarning` that names the file.

    Args:
        source: The file.
        message: What was chosen or repaired.
        guessed: Whether it is nothing that the header or the standard says.
    """
    repeat_geometry(f"{source}: {message}")
    notes: GeometryNotes | None = getattr(_LOCAL, "messages", None)
    if guessed and notes is not None:
        notes.guessed.append(message)


def repeat_geometry(text: str) -> None:
    """Issues a `GeometryWarning` of this text, such as one of another process."""
    messages: list[str] | None = getattr(_LOCAL, "messages", None)
    if messages is not None:
        messages.append(text)
    else:
        warnings.warn(text, GeometryWarning, stacklevel=4)


def settle_affine(affine: Affine, *, source: Path, allow_shear: bool = False) -> Affine:
    """The affine as it may be used: unchanged, repaired with a warning, or refused.

    Args:
        affine: As the header gives it.
        source: File, for the messages.
        allow_shear: Whether leaning axes are returned as they are.

    Raises:
        GeometryError: The affine is unusable, or sheared beyond what rounding
            explains.
    """
    try:
        check_affine(affine)
    except GeometryError as error:
        raise GeometryError(f"{source}: {error}; the header must be repaired") from None
    departure = orthonormality_error(affine)
    if departure <= ROUNDING_TOLERANCE:
        return affine
    if departure <= ORTHONORMAL_TOLERANCE:
        warn_geometry(
            source,
            f"voxel axes depart from right angles by {departure:.2g}; the nearest "
            "orthonormal directions are used",
        )
        return repair_affine(affine)
    if allow_shear:
        return affine
    raise GeometryError(
        f"{source}: voxel axes are not at right angles (sheared by {departure:.3g}, "
        f"at most {ORTHONORMAL_TOLERANCE:g} is rounding), as a tilted CT gantry "
        "leaves them; `medseg convert` resamples it onto a straight grid"
    )
