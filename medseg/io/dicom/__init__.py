"""DICOM trees to volumes and label maps, and label maps back to DICOM objects."""

from medseg.io.dicom.frame import Correction, Kind
from medseg.io.dicom.scan import DicomScan, read_series
from medseg.io.dicom.series import (
    Series,
    SeriesTree,
    Unreadable,
    find_series,
    series_of,
)

__all__ = [
    "Correction",
    "DicomScan",
    "Kind",
    "Series",
    "SeriesTree",
    "Unreadable",
    "find_series",
    "read_series",
    "series_of",
]
