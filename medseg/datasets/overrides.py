"""What the user says about a data set; it takes precedence over the layout's files."""

from dataclasses import dataclass, field

from medseg.datasets.case import FOUND_IN_LABEL_MAPS
from medseg.labels import LabelScheme
from medseg.progress import Progress, Silent


@dataclass(frozen=True)
class DatasetOverrides:
    """What is known before a folder is read; None where the folder must tell."""

    name: str | None = None
    scheme: LabelScheme | None = None
    channels: tuple[str, ...] | None = None
    progress: Progress = field(default_factory=Silent)

    @property
    def scheme_source(self) -> str:
        """Where the scheme of a data set that brings none comes from, in words."""
        return FOUND_IN_LABEL_MAPS if self.scheme is None else "as described"
