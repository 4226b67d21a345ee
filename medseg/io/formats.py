"""Which files are scans, by their names, and DICOM by its content; readers by path.

Archives and discs call DICOM files what they like, such as ``I0001.img``; other
formats keep their suffixes.
"""

import os
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Protocol, runtime_checkable

from medseg.errors import InputError, MissingFileError, PluginError, UnreadableFileError
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


class Format(Enum):
    """The families of files that are understood."""

    NIFTI = "NIfTI"
    ITK = "NRRD/MetaImage"
    PICTURE = "picture"
    DICOM = "DICOM"
    PLUGIN = "a file of a reader by path"


_SUFFIXES = {
    ".nii.gz": Format.NIFTI,
    ".nii": Format.NIFTI,
    ".hdr": Format.NIFTI,
    ".img": Format.NIFTI,
    ".img.gz": Format.NIFTI,
    ".hdr.gz": Format.NIFTI,
    ".nrrd": Format.ITK,
    ".nhdr": Format.ITK,
    ".mha": Format.ITK,
    ".mhd": Format.ITK,
    ".png": Format.PICTURE,
    ".tif": Format.PICTURE,
    ".tiff": Format.PICTURE,
    ".bmp": Format.PICTURE,
    ".jpg": Format.PICTURE,
    ".jpeg": Format.PICTURE,
    ".dcm": Format.DICOM,
    ".dicom": Format.DICOM,
    ".ima": Format.DICOM,
}
_BY_LENGTH = sorted(_SUFFIXES, key=len, reverse=True)
_DICOM_PREAMBLE = 128
_TAG_AND_LENGTH = 8


def format_of(path: Path) -> Format:
    """The format of a file or, for a folder, DICOM.

    A suffix decides, unless the file's first bytes are those of DICOM.

    Raises:
        MissingFileError: There is no such file or folder.
        UnreadableFileError: It is none of the understood formats.
    """
    suffix = suffix_of(path)
    if suffix and not path.is_dir():
        if suffix not in _SUFFIXES:
            return Format.PLUGIN
        return Format.DICOM if _holds_dicom(path, suffix) else _SUFFIXES[suffix]
    if not path.exists():
        raise MissingFileError(f"{path}: no such file or folder")
    if path.is_dir() or has_dicom_magic(path):
        return Format.DICOM
    raise UnreadableFileError(
        f"{path}: not an image that medseg knows; expected NIfTI (.nii, .nii.gz), "
        "NRRD (.nrrd, .nhdr), MetaImage (.mha, .mhd), PNG, TIFF, or DICOM"
    )


def is_scan(path: Path) -> bool:
    """Whether a file or folder looks like a scan, by name or DICOM signature.

    A folder is a scan when a DICOM file lies directly inside. Hidden files and the
    second half of a pair (.img beside .hdr) are none.
    """
    if path.name.startswith("."):
        return False
    if path.is_dir():
        return any(
            format_or_none(f) is Format.DICOM
            for f in sorted(path.iterdir())
            if f.is_file()
        )
    if _is_second_half(path) and not has_dicom_magic(path):
        return False
    return format_or_none(path) is not None


def scan_stem(path: Path) -> str:
    """The name of a file without the suffixes of its format; of a folder, its name.

    ``case_001.nii.gz`` gives ``case_001``; dots elsewhere in a name are kept.
    """
    suffix = suffix_of(path)
    return path.name[: -len(suffix)] if suffix else path.name


def find_scans(folder: Path) -> list[Path]:
    """All scans below a folder, sorted: files, and folders that hold DICOM files.

    Raises:
        MissingFileError: There is no such folder.
    """
    if not folder.exists():
        raise MissingFileError(f"{folder}: no such file or folder")
    if folder.is_file():
        return [folder]
    return sorted(_scans_below(folder))


def format_or_none(path: Path) -> Format | None:
    """The format of a file; None where it is none or cannot be opened."""
    try:
        return format_of(path)
    except InputError:
        return None


def has_dicom_magic(path: Path) -> bool:
    """Whether a file carries DICOM's four letters after the preamble."""
    return _first_bytes(path)[_DICOM_PREAMBLE:] == b"DICM"


def looks_like_bare_dicom(head: bytes) -> bool:
    """Whether bytes without preamble begin like a DICOM data set of group 2 or 8."""
    return (
        len(head) >= _TAG_AND_LENGTH
        and head[:2] in (b"\x08\x00", b"\x02\x00")
        and head[3] == 0
        and ((head[4:6].isalpha() and head[4:6].isupper()) or head[6:8] == b"\0\0")
    )


def _holds_dicom(path: Path, suffix: str) -> bool:
    """Whether a file of another format's suffix is DICOM nevertheless.

    Without preamble the second half of a pair may look like DICOM by chance.
    """
    if suffix.endswith(".gz") or _SUFFIXES[suffix] is Format.DICOM:
        return False
    head = _first_bytes(path)
    if head[_DICOM_PREAMBLE:] == b"DICM":
        return True
    return looks_like_bare_dicom(head) and not _is_second_half(path)


def _first_bytes(path: Path) -> bytes:
    """Where DICOM's signature would be; none of what is no file, or cannot be read.

    Opening a FIFO, or a link to one, waits for somebody to write into it.
    """
    try:
        if not path.is_file():
            return b""
        with path.open("rb") as stream:
            return stream.read(_DICOM_PREAMBLE + 4)
    except OSError:
        return b""


def _scans_below(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        here = Path(place)
        holds_dicom = False
        for name in names:
            path = here / name
            if not is_scan(path):
                continue
            if format_or_none(path) is Format.DICOM:
                holds_dicom = True
            else:
                yield path
        if holds_dicom:
            yield here


def suffix_of(path: Path) -> str:
    """What of a file's name says its format; empty where nothing does."""
    name = path.name.lower()
    own = next((suffix for suffix in _BY_LENGTH if name.endswith(suffix)), "")
    return own or plugin_suffix(name)


def _is_second_half(path: Path) -> bool:
    """Whether a file is the pixels of a pair, its header beside it."""
    if not path.name.lower().endswith((".img", ".img.gz")):
        return False
    stem = scan_stem(path)
    return any(path.with_name(stem + end).exists() for end in (".hdr", ".hdr.gz"))
