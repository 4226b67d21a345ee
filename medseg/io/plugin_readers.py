"""Readers by path, of files that no reader of medseg's knows."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

from medseg.errors import PluginError, UnreadableFileError
from medseg.plugins import GIVEN, find, has_given, names_in_use
from medseg.volume import Volume


@runtime_checkable
class Reader(Protocol):
    """Reads one kind of file; label maps are volumes of whole numbers."""

    suffixes: tuple[str, ...]
    """What names of its files end in, small letters with the dot: ``(".raw",)``."""

    def read(self, path: Path) -> Volume:
        """The volume of a file: voxels (C, I, J, K), affine to RAS+ in mm."""
        ...


def readers() -> Iterator[tuple[str, Reader]]:
    """Readers that are in use, by name.

    Raises:
        PluginError: One is none.
    """
    for name in names_in_use("readers"):
        made = find(name, kind="readers").made()
        if not isinstance(made, Reader):
            raise PluginError(
                f"reader {name}: expected suffixes and read(path), found "
                f"{type(made).__name__}"
            )
        yield name, made


def plugin_suffix(name: str) -> str:
    """The longest suffix of a reader in use that a file's name ends in; empty: none."""
    low = name.lower()
    known = [suffix for _, one in readers() for suffix in one.suffixes]
    return max((s for s in known if low.endswith(s)), key=len, default="")


def is_read_here(path: Path) -> bool:
    """Whether a file's reader is an object that only this process was given."""
    return has_given("readers") and any(
        name.startswith(f"{GIVEN}:") and path.name.lower().endswith(one.suffixes)
        for name, one in readers()
    )


def read_by_plugin(path: Path) -> Volume:
    """The volume of a file that a reader by path knows.

    Raises:
        UnreadableFileError: Its reader gives something else than a volume.
    """
    suffix = plugin_suffix(path.name)
    name, reader = next(one for one in readers() if suffix in one[1].suffixes)
    volume = reader.read(path)
    if not isinstance(volume, Volume):
        raise UnreadableFileError(
            f"{path}: the reader {name} gave {type(volume).__name__}, expected a "
            "medseg.Volume"
        )
    return volume
