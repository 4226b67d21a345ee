"""What a model keeps of the models that its training began with, and of their scans.

    trained_on.txt   a shortened SHA-256 of every image file that was trained on, a line
                     each; a line with ? where there are others, not known which

From a hash nobody learns what a scan shows or whose it is; who has the same file can
tell that it was trained on, so that no score is taken from it by mistake.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from medseg.settings import Record

TRAINED_ON = "trained_on.txt"
_OTHERS = "?"


class Ancestor(Record):
    """A model that training began with."""

    name: str = ""
    """Name of the data set that it was trained on."""
    weights_sha256: str = ""
    """Hash of its weights."""
    licence: str = ""
    """Terms of its data as it states them; empty: it states none."""
    dataset_hash: str = ""
    """Hash of its data set's manifest."""
    checkpoint: str = ""
    """SHA-256 of the file that it was imported from."""
    created: str = ""
    """When its training ended."""

    def describe(self) -> str:
        """The ancestor in one line."""
        licence = f"licence {self.licence}" if self.licence else "no licence stated"
        return f"{self.name or 'unnamed'}, weights {self.weights_sha256}, {licence}"


@dataclass(frozen=True)
class TrainedOn:
    """The scans that weights were trained on, their ancestors' included.

    Attributes:
        images: Shortened hashes of image files.
        complete: Whether these are all of them.
    """

    images: frozenset[str] = frozenset()
    complete: bool = False

    def joined(self, other: "TrainedOn") -> "TrainedOn":
        """Those of two trainings, one of which followed the other."""
        return TrainedOn(self.images | other.images, self.complete and other.complete)

    def to_text(self) -> str:
        """The lines of the file."""
        lines = [*sorted(self.images), *([] if self.complete else [_OTHERS])]
        return "".join(f"{line}\n" for line in lines)


def read_trained_on(folder: Path) -> TrainedOn:
    """What a model folder says; nothing is known where it says nothing."""
    try:
        text = (folder / TRAINED_ON).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return TrainedOn()
    return trained_on(text.split())


def trained_on(lines: Iterable[str]) -> TrainedOn:
    """The scans of the lines of a file."""
    found = frozenset(lines)
    return TrainedOn(found - {_OTHERS}, _OTHERS not in found)
