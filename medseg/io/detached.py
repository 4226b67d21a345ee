"""Which files a scan consists of when its header says that voxels lie elsewhere.

MetaImage (`.mhd`) and NRRD (`.nhdr`) headers name one file, a list of them, or a
pattern with a number; NIfTI and Analyze pairs are told by their suffixes, the JSON that
says a TIFF's voxel size by its stem. The headers
are read as text here, before any library sees them: names outside the header's own
folder, patterns that are no numbers, and sizes that the files cannot hold are refused.
"""

import math
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from medseg.errors import MissingFileError, UnreadableFileError
from medseg.io.bytestream import open_file
from medseg.io.tiff_header import notes_beside

_META, _NRRD, _TIFF = (".mhd", ".mha"), (".nhdr", ".nrrd"), (".tif", ".tiff")
_LONGEST_HEADER = 1 << 22
_MOST_FILES = 100_000
_NUMBER = re.compile(r"%0?\d{0,2}[du]")
_DEFLATE, _BZIP2 = 1032, 1_000_000
"""Largest ratios that the packings reach."""
_META_BYTES = {
    "CHAR": 1, "SHORT": 2, "INT": 4, "LONG": 4, "LONG_LONG": 8, "FLOAT": 4, "DOUBLE": 8,
}  # fmt: skip
_NRRD_BYTES = {
    "short": 2, "int": 4, "long": 8, "float": 4, "double": 8, "int16": 2, "int32": 4,
    "int64": 8,
}  # fmt: skip
_PAIRS = {
    ".hdr": (".img", ".img.gz"),
    ".hdr.gz": (".img.gz", ".img"),
    ".img": (".hdr", ".hdr.gz"),
    ".img.gz": (".hdr.gz", ".hdr"),
}


@dataclass(frozen=True)
class TextHeader:
    """What a MetaImage or NRRD header says of its voxels.

    Attributes:
        names: Files that hold them, as they are named; none where they follow.
        num_bytes: Bytes that the voxels take in memory, at least.
        ratio: How many times larger they may be than what is stored.
        trouble: Why no library should be given the file; empty where one may.
    """

    names: tuple[str, ...] = ()
    num_bytes: int = 0
    ratio: int = 1
    trouble: str = ""


def files_of(path: Path) -> list[Path]:
    """All files that are read with a scan: itself first, then those it refers to.

    A folder stands for the files in it. What cannot be opened is not an error here.
    """
    if path.is_dir():
        return sorted(part for part in path.rglob("*") if part.is_file())
    name = path.name.lower()
    for suffix, others in sorted(_PAIRS.items(), key=lambda pair: -len(pair[0])):
        if name.endswith(suffix):
            stem = path.name[: -len(suffix)]
            found = [path.with_name(stem + other) for other in others]
            return [path, *[other for other in found if other.is_file()][:1]]
    if name.endswith(_TIFF):
        return [path, *(note for note in notes_beside(path) if note.is_file())]
    if not name.endswith((*_META, *_NRRD)):
        return [path]
    try:
        return [path, *_data_files(path, read_text_header(path))]
    except (OSError, ValueError):
        return [path]


def require_own_data(path: Path) -> None:
    """Refuses a MetaImage or NRRD file that no library should be given.

    Raises:
        MissingFileError: A file that it names is not there.
        UnreadableFileError: It names files outside its folder or what is no file, or
            asks for more than its files can hold.
    """
    header = read_text_header(path)
    if header.trouble:
        raise UnreadableFileError(f"{path}: {header.trouble}")
    files = _data_files(path, header)
    size = sum(_size_of(file, path) for file in files or [path])
    if header.num_bytes > size * header.ratio:
        raise UnreadableFileError(
            f"{path}: the file is truncated or its header is wrong: "
            f"{header.num_bytes} bytes expected, at most {size * header.ratio} can be "
            "there"
        )


def read_text_header(path: Path) -> TextHeader:
    """What a MetaImage or NRRD header says of its voxels.

    Raises:
        InputError: The file cannot be opened.
    """
    is_nrrd = path.name.lower().endswith(_NRRD)
    with open_file(path) as stream:
        block = stream.read(_LONGEST_HEADER)
    lines = _nrrd_lines(block) if is_nrrd else _meta_lines(block)
    try:
        return _nrrd_header(lines) if is_nrrd else _meta_header(lines)
    except ValueError as error:
        return TextHeader(trouble=str(error))


def _meta_lines(block: bytes) -> list[str]:
    """Lines of the header; behind ``LOCAL`` the voxels follow."""
    head, found, rest = block.partition(b"ElementDataFile")
    if found:
        name, _, more = rest.partition(b"\n")
        if name.strip(b"= \t\r").upper().startswith(b"LOCAL"):
            more = b""
        head += found + name + b"\n" + more
    return head.decode("utf-8", "surrogateescape").splitlines()


def _nrrd_lines(block: bytes) -> list[str]:
    """Lines of the header up to the empty one; behind ``LIST`` all others."""
    head = re.split(rb"\r?\n\r?\n", block, maxsplit=1)[0]
    return head.decode("utf-8", "surrogateescape").splitlines()


def _meta_header(lines: Sequence[str]) -> TextHeader:
    """Raises ValueError, in words, where a number is none."""
    fields: dict[str, str] = {}
    following: list[str] = []
    for number, line in enumerate(lines):
        key, _, value = line.partition("=")
        fields[key.strip()] = value.strip()
        if key.strip() == "ElementDataFile":
            following = [name.strip() for name in lines[number + 1 :] if name.strip()]
            break
    rank = _whole(fields.get("NDims", "3"), "NDims")
    if not 1 <= rank <= 10:
        raise ValueError(f"NDims is {rank}, expected 2 to 4 axes")
    sizes = [_whole(text, "DimSize") for text in fields.get("DimSize", "").split()]
    if len(sizes) != rank:
        raise ValueError(f"DimSize has {len(sizes)} numbers, expected {rank}")
    channels = _whole(fields.get("ElementNumberOfChannels", "1"), "number of channels")
    kind = fields.get("ElementType", "").removeprefix("MET_").removesuffix("_ARRAY")
    width = _META_BYTES.get(kind.removeprefix("U"), 1)
    is_packed = fields.get("CompressedData", "").lower().startswith(("t", "1", "y"))
    words = fields.get("ElementDataFile", "").split()
    return TextHeader(
        names=tuple(_meta_names(fields.get("ElementDataFile", ""), words, following)),
        num_bytes=math.prod(sizes) * channels * width,
        ratio=_DEFLATE if is_packed else _text_ratio(fields),
    )


def _text_ratio(fields: dict[str, str]) -> int:
    """Numbers as text may be a character each, with a space behind it."""
    binary = fields.get("BinaryData", "True").lower().startswith(("t", "1", "y"))
    return 1 if binary else 8


def _meta_names(text: str, words: list[str], following: list[str]) -> list[str]:
    if not words or words[0].upper() == "LOCAL":
        return []
    if words[0].upper() == "LIST":
        return following[:_MOST_FILES]
    if "%" not in text:
        return [text]
    steps = [_whole(word, "number of a data file") for word in words[1:4]]
    first, last, step = [*steps, *[1, 1, 1][len(steps) :]]
    return list(_numbered(words[0], first, last, step))


def _nrrd_header(lines: Sequence[str]) -> TextHeader:
    """Raises ValueError, in words, where a number is none."""
    fields: dict[str, str] = {}
    following: list[str] = []
    for number, line in enumerate(lines):
        key, found, value = line.partition(":")
        if not found or line.startswith("#") or value.startswith("="):
            continue
        key = key.strip().lower().replace(" ", "")
        fields[key] = value.strip()
        if key == "datafile" and value.split()[:1] == ["LIST"]:
            following = [name.strip() for name in lines[number + 1 :] if name.strip()]
            break
    sizes = [_whole(text, "sizes") for text in fields.get("sizes", "").split()]
    kind = fields.get("type", "").lower().removesuffix("_t")
    kind = re.sub(r"^(unsigned |signed |u(?=int|short|long))", "", kind)
    encoding = fields.get("encoding", "raw").lower()
    ratios = {"raw": 1, "gzip": _DEFLATE, "gz": _DEFLATE}
    ratios |= {"bzip2": _BZIP2, "bz2": _BZIP2}
    return TextHeader(
        names=tuple(_nrrd_names(fields.get("datafile", ""), following)),
        num_bytes=math.prod(sizes) * _NRRD_BYTES.get(kind.split(" ")[0], 1),
        ratio=ratios.get(encoding, 8),
    )


def _nrrd_names(text: str, following: list[str]) -> list[str]:
    words = text.split()
    if not words:
        return []
    if words[0] == "LIST":
        return following[:_MOST_FILES]
    if "%" not in text:
        return [text]
    steps = [_whole(word, "number of a data file") for word in words[1:4]]
    if len(steps) < 3:
        raise ValueError(f"data file: {text!r}, expected a pattern and three numbers")
    return list(_numbered(words[0], *steps))


def _numbered(pattern: str, first: int, last: int, step: int) -> Iterator[str]:
    """Names of a pattern's files; C's printf is given nothing but a number."""
    found = _NUMBER.findall(pattern)
    if len(found) != 1 or pattern.count("%") != 1:
        raise ValueError(
            f"the voxels' files are called {pattern!r}, expected a name, or a pattern "
            "with one number such as slice_%03d.raw"
        )
    if step == 0 or (last - first) // step >= _MOST_FILES:
        raise ValueError(f"numbers of data files from {first} to {last} by {step}")
    for number in range(first, last + (1 if step > 0 else -1), step):
        yield pattern.replace(found[0], (found[0][:-1] + "d") % number)


def _whole(text: str, what: str) -> int:
    if not re.fullmatch(r"[+-]?\d{1,15}", text):
        raise ValueError(f"{what} is {text[:30]!r}, expected a whole number")
    return int(text)


def _data_files(path: Path, header: TextHeader) -> list[Path]:
    """The files that a header names, which lie in its folder or below."""
    return [path.parent / _own(name, path) for name in header.names]


def _own(name: str, path: Path) -> str:
    """The name, if it leads nowhere else."""
    is_absolute = name.startswith(("/", "\\", "~")) or PureWindowsPath(name).drive
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if is_absolute or ".." in parts or "\0" in name or not parts:
        raise UnreadableFileError(
            f"{path}: its header names a file outside its own folder ({_shown(name)}); "
            "move it beside the header, and name it there"
        )
    return name


def _shown(name: str) -> str:
    """A name from a damaged header, as a message may hold it."""
    return name[:100].encode("ascii", "backslashreplace").decode("ascii")


def _size_of(file: Path, header: Path) -> int:
    try:
        state = file.stat()
    except FileNotFoundError as error:
        raise MissingFileError(
            f"{header}: its voxels are in {_shown(file.name)}, which is not there"
        ) from error
    except (OSError, ValueError) as error:
        raise UnreadableFileError(
            f"{header}: cannot read {_shown(file.name)}"
        ) from error
    if not stat.S_ISREG(state.st_mode):
        raise UnreadableFileError(f"{header}: {_shown(file.name)} is no file of voxels")
    return state.st_size
