"""The YAML beside a data set that says what its files cannot: names, labels, origin."""

from pathlib import Path

import yaml

from medseg.datasets.case import Dataset
from medseg.files import write_text
from medseg.labels import LabelScheme
from medseg.settings import Settings, load_settings, parse_settings


class Description(Settings):
    """What a data set is; every key may be left out."""

    name: str | None = None
    """Name of the data set."""
    labels: dict[str, int] | None = None
    """Value in the label maps of each structure."""
    background: int = 0
    """Value that means "none of the structures"."""
    regions: dict[str, tuple[str, ...]] = {}
    """Overlapping regions, each a union of structures."""
    ignore: int | None = None
    """Value of voxels that are neither trained on nor scored."""
    instances: bool = False
    """Every other value than background is one object of the only structure."""
    channels: tuple[str, ...] | None = None
    """What each input channel holds."""
    root: str | None = None
    """Folder of the files, relative to this file; else the caller names it, or it is
    the folder of this file."""
    source: str = ""
    """Where the data set can be had."""
    licence: str = ""
    """Under which terms."""
    citation: str = ""
    """What its authors ask to be cited."""
    checksums: str = ""
    """File of SHA-256 sums beside this one, as ``sha256sum -c`` reads it."""
    notes: str = ""
    """What else a user should know."""

    def scheme(self, *, source: str) -> LabelScheme | None:
        """The label scheme, or None where no labels are named.

        Args:
            source: File, for the error message.

        Raises:
            SettingsError: The labels contradict each other.
        """
        if self.labels is None:
            return None
        values = {
            "names": self.labels,
            "regions": self.regions,
            "ignore": self.ignore,
            "instances": self.instances,
        }
        if "background" not in self.labels:
            values["background"] = self.background
        return parse_settings(LabelScheme, values, source=source)


def read_description(path: Path) -> Description:
    """The description held by a YAML file; an empty one where there is no file.

    Raises:
        SettingsError: It is not YAML, or a key is unknown.
    """
    return load_settings(Description, path) if path.is_file() else Description()


def write_description(path: Path, dataset: Dataset) -> None:
    """Writes name, channels and labels of a data set.

    Raises:
        OutputError: The file cannot be written.
    """
    scheme = dataset.scheme
    values = Description(
        name=dataset.name,
        labels=scheme.names,
        background=scheme.background,
        regions=scheme.regions,
        ignore=scheme.ignore,
        instances=scheme.instances,
        channels=dataset.channels,
        licence=dataset.licence,
    ).model_dump(mode="json", exclude_defaults=True)
    write_text(path, yaml.safe_dump(values, sort_keys=False, allow_unicode=True))
