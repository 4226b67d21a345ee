"""One scan to segment: where its voxels come from and what its result is called."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medseg.io.dicom.series import Series
from medseg.io.identity import masked
from medseg.io.sources import ScanSource
from medseg.plain_text import below_folder, one_line, without_dates_and_uids


@dataclass(frozen=True)
class Scan:
    """One scan, or something that claims to be one and is not usable.

    Attributes:
        name: What its results are called.
        sources: One that holds everything, or one for each channel in order.
        shown: Where it lies below the input.
        missing: Channels without a file of their own; a file that holds all of them
            is a scan nevertheless.
        reason: Why it is not segmented; empty where it can be tried.
        is_fault: Whether the reason is a failure, and not merely another kind of
            object or a series that was not asked for.
        identifiers: Parts of patients' names, to keep out of messages.
    """

    name: str
    sources: tuple[ScanSource, ...]
    shown: str = ""
    missing: tuple[str, ...] = ()
    reason: str = ""
    is_fault: bool = False
    identifiers: frozenset[str] = field(default=frozenset(), repr=False)

    @classmethod
    def of_files(cls, name: str, files: Sequence[Path]) -> "Scan":
        """A scan whose files are known, one or one for each channel."""
        sources = tuple(ScanSource(file.parent, (file,), name) for file in files)
        return cls(name, sources, files[0].name)

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that it consists of."""
        return tuple(file for source in self.sources for file in source.files)

    @property
    def series(self) -> Series | None:
        """The DICOM series whose planes the result lies on; None for other formats."""
        return self.sources[0].series if self.sources else None

    @property
    def is_dicom(self) -> bool:
        """Whether its texts may name a patient."""
        return not self.sources or any(
            source.series is not None or source.is_fault for source in self.sources
        )

    def content_hash(self) -> str:
        """SHA-256 over the bytes of all files, channel by channel."""
        parts = [source.content_hash() for source in self.sources]
        parts += [f"no {name}" for name in self.missing]
        return parts[0] if len(parts) == 1 else _joined_hash(parts)

    def cleaned(self, text: str, identifiers: frozenset[str] | None = None) -> str:
        """A message in one line, paths below the root, without a patient's name."""
        for source in self.sources:
            text = below_folder(text, source.root)
        if self.is_dicom:
            names = self.identifiers if identifiers is None else identifiers
            text = without_dates_and_uids(masked(text, names))
        return one_line(text)


def _joined_hash(parts: list[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
