"""Scans and models for tests of prediction, small and of known content."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import dicom_phantom
import numpy as np

from medseg.geometry import affine_from_spacing
from medseg.io import write_volume
from medseg.prediction.records import Prediction
from medseg.volume import Volume


class Predict(Protocol):
    """`predict` on the CPU with a key of the test's own."""

    def __call__(
        self, model: Path, scans: Path, out: Path, **options: Any
    ) -> list[Prediction]: ...


@dataclass(frozen=True)
class Planted:
    paths: list[Path]
    secrets: list[str]


DICOM_TAGS: dict[str, Any] = {
    "PatientName": "Plantedname^Zebulon",
    "PatientID": "PID-77123",
    "PatientBirthDate": "19480229",
    "PatientSex": "F",
    "OtherPatientIDs": "ALTID-5512",
    "PatientAddress": "Plantstreet 5 Seedville",
    "PatientComments": "comment Quentin",
    "PatientTelephoneNumbers": "0049-555-0199",
    "PatientMotherBirthName": "Mothersname",
    "StudyDate": "20310704",
    "SeriesDate": "20310705",
    "AcquisitionDate": "20310706",
    "ContentDate": "20310707",
    "AcquisitionDateTime": "20310708101112",
    "StudyTime": "131415",
    "AccessionNumber": "ACC-99887",
    "StudyID": "SID-4242",
    "ReferringPhysicianName": "Referrer^Ruth",
    "OperatorsName": "Operator^Olga",
    "PerformingPhysicianName": "Performer^Paul",
    "InstitutionName": "Saint Planted Hospital",
    "InstitutionAddress": "Hospitalroad 1",
    "StationName": "STATION-PLANT",
    "StudyDescription": "study of Plantedname",
    "SeriesDescription": "series of Plantedname 20310704",
    "ProtocolName": "protocol Protoplant",
    "RequestedProcedureDescription": "procedure Procplant",
    "ImageComments": "image of Imageplant",
    "DeviceSerialNumber": "SERIAL-31415",
    "ContrastBolusAgent": "agent Agentplant",
    "ConvolutionKernel": "Kernelplant",
}
SECRETS = [
    *("Plantedname", "Zebulon", "PID-77123", "19480229", "ALTID-5512", "Plantstreet"),
    *("Quentin", "0049-555-0199", "Mothersname", "20310704", "20310705", "20310706"),
    *("20310707", "20310708", "131415", "ACC-99887", "SID-4242", "Referrer", "Ruth"),
    *("Olga", "Performer", "Saint Planted", "Hospitalroad", "STATION-PLANT"),
    *("Protoplant", "Procplant", "Imageplant", "SERIAL-31415", "Agentplant"),
    *("Kernelplant",),
]


def planted_series(
    folder: Path,
    *,
    shape: Sequence[int] = (24, 28, 10),
    seed: int = 0,
    tilt: float = 0.0,
    **elements: Any,
) -> Planted:
    """A small series with a bright ball, and what its headers must not give away."""
    i, j, k = np.indices(tuple(shape))
    noise = np.random.default_rng(seed).integers(0, 50, tuple(shape))
    centre = [size / 2 for size in shape]
    ball = ((i - centre[0]) ** 2 + (j - centre[1]) ** 2 + (k - centre[2]) ** 2) < 30
    stored = (100 + noise + 400 * ball).astype(np.uint16)
    paths = dicom_phantom.write_series(folder, stored, tilt=tilt, seed=seed, **elements)
    return Planted(paths, SECRETS)


def scan_like(
    path: Path,
    *,
    shape: Sequence[int] = (24, 28, 20),
    num_channels: int = 1,
    seed: int = 0,
    value: float | None = None,
    offset: float = 0.0,
) -> Path:
    """A scan of noise, or of one value, on a plain grid."""
    size = (num_channels, *shape)
    noise = np.random.default_rng(seed).normal(100, 20, size).astype(np.float32)
    voxels = noise + offset if value is None else np.full(size, value, np.float32)
    affine = affine_from_spacing((1.0, 1.0, 1.5))
    write_volume(path, Volume(voxels.astype(np.float32), affine))
    return path
