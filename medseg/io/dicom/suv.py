"""Standardised uptake values of PET: activity per injected activity per body weight.

The rule is QIBA's vendor-neutral one for SUVbw (QIBA FDG-PET/CT Profile v1.13,
appendix G, happy path): activity in Bq/ml, corrected for attenuation and decay, the
dose decayed to the time to which the images are.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from medseg.io.dicom.elements import DicomDataset, number_of, quiet, text_of
from medseg.io.dicom.header import read_header

_WANTED = (
    "Units",
    "CorrectedImage",
    "DecayCorrection",
    "PatientWeight",
    "SeriesDate",
    "SeriesTime",
    "AcquisitionDate",
    "AcquisitionTime",
    "RadiopharmaceuticalInformationSequence",
)
_GRAMS_PER_KG = 1000.0


@dataclass(frozen=True)
class SuvScale:
    """What activity is multiplied by, or why it cannot be."""

    factor: float | None
    detail: str


def suv_scale(path: Path) -> SuvScale:
    """The factor from stored PET units to SUVbw (g/ml), by one slice's header.

    Raises:
        InputError: The header cannot be read.
    """
    dataset, _ = read_header(path, wanted=_WANTED)
    with quiet():
        try:
            return _scale(dataset)
        except Exception:  # noqa: BLE001 - elements that cannot be converted
            return SuvScale(None, "its radiopharmaceutical elements cannot be read")


def _scale(dataset: DicomDataset) -> SuvScale:
    units = text_of(dataset, "Units")
    if units == "GML":
        return SuvScale(1.0, "stored as SUVbw")
    if units != "BQML":
        return SuvScale(None, f"units are {units or 'absent'}, expected BQML")
    corrected = text_of(dataset, "CorrectedImage")
    if "ATTN" not in corrected or "DECY" not in corrected:
        return SuvScale(None, "not corrected for attenuation and decay")
    weight = number_of(dataset, "PatientWeight", 0.0)
    if weight <= 0:
        return SuvScale(None, "PatientWeight is absent")
    items = dataset.get("RadiopharmaceuticalInformationSequence")
    dose = number_of(items[0], "RadionuclideTotalDose", 0.0) if items else 0.0
    if dose <= 0:
        return SuvScale(None, "RadionuclideTotalDose is absent")
    remaining = _share_left(dataset, items[0])
    if remaining is None:
        return SuvScale(None, "the times of injection and scan do not fit together")
    factor = weight * _GRAMS_PER_KG / (dose * remaining)
    return SuvScale(factor, f"Bq/ml became SUVbw (g/ml) by a factor of {factor:.6g}")


def _share_left(dataset: DicomDataset, item: DicomDataset) -> float | None:
    """Share of the dose left at the time that the images are corrected to."""
    correction = text_of(dataset, "DecayCorrection")
    if correction == "ADMIN":
        return 1.0
    half_life = number_of(item, "RadionuclideHalfLife", 0.0)
    if correction != "START" or half_life <= 0:
        return None
    scanned = _moment(text_of(dataset, "SeriesDate"), text_of(dataset, "SeriesTime"))
    acquired = _moment(
        text_of(dataset, "AcquisitionDate"), text_of(dataset, "AcquisitionTime")
    )
    # A series time after the acquisition is that of a later reconstruction.
    if scanned is None or (acquired is not None and scanned > acquired):
        scanned = acquired
    injected = _injection(item, scanned)
    if scanned is None or injected is None or injected > scanned:
        return None
    elapsed = (scanned - injected).total_seconds()
    return float(2.0 ** (-elapsed / half_life))


def _injection(item: DicomDataset, scanned: datetime | None) -> datetime | None:
    """When the dose was given; a bare time means the day of the scan or before."""
    stamp = text_of(item, "RadiopharmaceuticalStartDateTime")
    if stamp:
        return _moment(stamp[:8], stamp[8:].split("+")[0].split("-")[0])
    if scanned is None:
        return None
    moment = _moment(
        scanned.strftime("%Y%m%d"), text_of(item, "RadiopharmaceuticalStartTime")
    )
    if moment is not None and moment > scanned:
        moment -= timedelta(days=1)
    return moment


def _moment(date: str, time: str) -> datetime | None:
    try:
        return datetime.strptime(date + time.split(".")[0], "%Y%m%d%H%M%S")
    except ValueError:
        return None
