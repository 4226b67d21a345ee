"""Who or what made a segmentation, as DICOM objects must say."""

from dataclasses import dataclass

from medseg import __version__


@dataclass(frozen=True)
class Algorithm:
    """Identification of what made the labels; a person where it is manual."""

    name: str = "medseg"
    """Such as the name of the model folder."""
    version: str = __version__
    """Such as the hash of the model."""
    is_manual: bool = False
