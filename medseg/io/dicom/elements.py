"""Elements of a DICOM data set as plain values, whatever their writer made of them."""

from contextlib import AbstractContextManager
from typing import Any, TypeAlias

DicomDataset: TypeAlias = Any
"""A pydicom Dataset, whose attributes carry no types."""


def quiet() -> AbstractContextManager[Any]:
    """Headers are judged here; pydicom neither warns about values nor refuses them."""
    from pydicom.config import disable_value_validation

    return disable_value_validation()


def text_of(dataset: DicomDataset, keyword: str) -> str:
    """An element as text; empty where it is absent."""
    value = dataset.get(keyword)
    if value is None:
        return ""
    if isinstance(value, (list, tuple)) or type(value).__name__ == "MultiValue":
        return "\\".join(str(part) for part in value)
    return str(value)


def numbers_of(dataset: DicomDataset, keyword: str, count: int) -> tuple[float, ...]:
    """An element of so many numbers; empty where it is absent or of another length."""
    value = dataset.get(keyword)
    if value is None or isinstance(value, str):
        return ()
    parts = value if hasattr(value, "__len__") else [value]
    if len(parts) != count or any(part is None for part in parts):
        return ()
    return tuple(float(part) for part in parts)


def number_of(dataset: DicomDataset, keyword: str, default: float) -> float:
    """An element of one number, or a default where it is absent."""
    found = numbers_of(dataset, keyword, 1)
    return found[0] if found else default
