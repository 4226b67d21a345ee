"""Outputs beside the label map: one that cannot be made costs itself alone."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from medseg.errors import MedsegError, OutputError
from medseg.files import is_disk_full


@dataclass(frozen=True)
class Attempts:
    """Tries to make what goes with a label map, and keeps why something is not there.

    Attributes:
        reasons: By output, in words for people, why it could not be made.
    """

    reasons: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def of(self, output: str, file: Path | None = None) -> Iterator[None]:
        """Whatever goes wrong in the block becomes the output's reason.

        Args:
            output: What is made, such as ``"DICOM report"``.
            file: Where; one of an earlier call does not stay there instead.

        Raises:
            OutputError: The disk is full or read-only: nothing more can be written.
        """
        try:
            yield
        except Exception as error:  # noqa: BLE001 - the label map is worth more
            self.note(output, error, file)

    def note(self, output: str, error: Exception, file: Path | None = None) -> None:
        """Keeps why an output could not be made.

        Args:
            output: What was to be made.
            error: What went wrong.
            file: Where; removed, if one of an earlier call is there.

        Raises:
            OutputError: The disk is full or read-only: nothing more can be written.
        """
        self.reasons[output] = reason_of(error).replace("; ", ", ")
        if file is not None:
            with suppress(OSError):
                file.unlink(missing_ok=True)


def reason_of(error: Exception) -> str:
    """Why something failed, in words.

    Raises:
        OutputError: The disk is full or read-only: nothing more can be written.
    """
    if isinstance(error, OutputError) and is_disk_full(error):
        raise error
    if isinstance(error, MemoryError):
        return "not enough memory"
    if isinstance(error, MedsegError | OSError):
        return str(error) or type(error).__name__
    return f"{type(error).__name__}: {error!s:.300}"
