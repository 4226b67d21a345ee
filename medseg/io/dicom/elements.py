"""Elements of a DICOM data set as plain values, whatever their writer made of them."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any, TypeAlias

_CHARSET = 0x00080005
_SHORT = 256
_LONG = 4
_TEXT = ("DS", "IS", "LO", "SH", "ST", "LT", "UT", "UC", "CS")
_UNDEFINED = 0xFFFFFFFF

DicomDataset: TypeAlias = Any
"""A pydicom Dataset, whose attributes carry no types."""


class ElementError(ValueError):
    """An element holds something else than its definition says."""


class Elements:
    """A data set whose short values are converted once for all slices of a series.

    Most elements of a series repeat from file to file. pydicom converts each
    distinct value; the same bytes are not converted again.
    """

    def __init__(self, dataset: DicomDataset) -> None:
        """Wraps a pydicom data set.

        Raises:
            ValueError: The file ended within an element.
        """
        self.dataset = dataset
        self._raw = {int(tag): element for tag, element in dataset.items()}
        for element in self._raw.values():
            if isinstance(element.value, bytes) and _is_cut(element):
                raise ValueError(f"element {element.tag} is cut off")
        charset = self._raw.get(_CHARSET)
        value = getattr(charset, "value", None)
        self._charset = value if isinstance(value, bytes) else b""

    def __contains__(self, keyword: str) -> bool:
        """Whether an element is there, be it empty."""
        return _tag_of(keyword) in self._raw

    def get(self, keyword: str) -> Any:
        """An element's value; None where it is absent."""
        tag = _tag_of(keyword)
        raw = self._raw.get(tag)
        if raw is None:
            return None
        value = raw.value
        if not isinstance(value, bytes) or len(value) > _SHORT:
            return self.dataset[tag].value
        return _converted(
            tag, raw.VR, value, raw.is_implicit_VR, raw.is_little_endian, self._charset
        )

    def stored_integer(self, keyword: str, *, is_signed: bool) -> int | None:
        """The first value of an element that is US or SS as the pixels are.

        In implicit VR nothing in the element says which of the two it is, and
        writers of explicit VR get it wrong; PixelRepresentation decides (PS3.5
        A.1). None where it is absent or empty.

        Raises:
            ElementError: It holds something else than a number.
        """
        raw: Any = self._raw.get(_tag_of(keyword))
        value = getattr(raw, "value", None)
        if isinstance(value, bytes) and getattr(raw, "VR", None) not in _TEXT:
            if not value:
                return None
            used = value[: 4 if len(value) == _LONG else 2]
            if raw.is_little_endian:
                return int.from_bytes(used, "little", signed=is_signed)
            return int.from_bytes(used, "big", signed=is_signed)
        found = all_numbers_of(self, keyword)
        if not found:
            return None
        number = int(found[0])
        return number - (1 << 16) if is_signed and number >= 1 << 15 else number


@contextmanager
def quiet() -> Iterator[None]:
    """Headers are judged here; pydicom neither warns about values nor refuses them.

    pydicom keeps this for the whole process, so that the first thread in switches it
    and the last one out switches it back.
    """
    from pydicom.config import disable_value_validation

    with _QUIET.guard:
        _QUIET.depth += 1
        if _QUIET.depth == 1:
            _QUIET.context = disable_value_validation()
            _QUIET.context.__enter__()
    try:
        yield
    finally:
        with _QUIET.guard:
            _QUIET.depth -= 1
            if _QUIET.depth == 0:
                _QUIET.context.__exit__(None, None, None)


@dataclass
class _Quiet:
    """How many threads want pydicom to be quiet now."""

    guard: threading.Lock = field(default_factory=threading.Lock)
    depth: int = 0
    context: Any = None


_QUIET = _Quiet()


def text_of(dataset: DicomDataset, keyword: str) -> str:
    """An element as text; empty where it is absent."""
    value = dataset.get(keyword)
    if value is None:
        return ""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, (list, tuple)) or type(value).__name__ == "MultiValue":
        return "\\".join(str(part) for part in value)
    return str(value)


def numbers_of(dataset: DicomDataset, keyword: str, count: int) -> tuple[float, ...]:
    """An element of so many numbers; empty where it is absent or of another length.

    Raises:
        ElementError: It holds something else than numbers.
    """
    found = all_numbers_of(dataset, keyword)
    return found if len(found) == count else ()


def all_numbers_of(dataset: DicomDataset, keyword: str) -> tuple[float, ...]:
    """All numbers of an element, whatever its VR; empty where one is missing.

    Raises:
        ElementError: It holds something else than numbers.
    """
    value = dataset.get(keyword)
    if isinstance(value, bytes):  # a VR that pydicom does not convert
        value = value.decode("ascii", "replace")
    if isinstance(value, str):
        value = value.strip(" \0").split("\\")
    if value is None:
        return ()
    parts = value if hasattr(value, "__len__") else [value]
    if any(part is None or not str(part).strip(" \0") for part in parts):
        return ()
    try:
        return tuple(_number(part) for part in parts)
    except (TypeError, ValueError) as error:
        raise ElementError(f"{keyword} holds no number") from error


def _number(part: Any) -> float:
    """A number, also where its decimal sign is a comma."""
    return float(part.replace(",", ".") if isinstance(part, str) else part)


def number_of(dataset: DicomDataset, keyword: str, default: float) -> float:
    """An element of one number, or a default where it is absent or empty.

    Raises:
        ElementError: It holds something else.
    """
    found = all_numbers_of(dataset, keyword)
    if len(found) > 1:
        raise ElementError(f"{keyword} holds {len(found)} numbers, expected one")
    return found[0] if found else default


@cache
def _tag_of(keyword: str) -> int:
    from pydicom.datadict import tag_for_keyword

    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword
    return tag


def _is_cut(element: Any) -> bool:
    """Whether an element that was not converted yet is shorter than it says."""
    length = getattr(element, "length", None)
    return length is not None and len(element.value) < length < _UNDEFINED


@lru_cache(maxsize=8192)
def _converted(
    tag: int,
    vr: str | None,
    value: bytes,
    is_implicit: bool,  # noqa: FBT001 - the cache wants plain arguments
    is_little_endian: bool,  # noqa: FBT001
    charset: bytes,
) -> Any:
    from pydicom.charset import convert_encodings
    from pydicom.dataelem import RawDataElement, convert_raw_data_element
    from pydicom.tag import BaseTag

    names = charset.decode("ascii", "replace").strip(" \0").split("\\")
    raw = RawDataElement(
        BaseTag(tag), vr, len(value), value, 0, is_implicit, is_little_endian
    )
    element = convert_raw_data_element(raw, encoding=convert_encodings(names))
    return element.value
