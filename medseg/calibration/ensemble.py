"""Calibration of networks that predict together; kept beside their runs."""

from pathlib import Path

import yaml

from medseg.files import write_text
from medseg.instances.decoding_settings import DecodingSettings
from medseg.model import CalibratedWindows
from medseg.settings import Settings, load_settings

FILE = "ensemble.yaml"
"""Below the folder that holds the networks' runs."""


class EnsembleCalibration(Settings):
    """What ensemble.yaml holds."""

    weights_sha256: str
    """Hash of all weights that it was chosen for."""
    made_by: str
    """Hash of what else it was chosen by: data, fold, windows, IoU thresholds."""
    decoding: DecodingSettings | None = None
    """How single objects are found in the mean of the networks' answers; None where
    they learned none."""
    windows: CalibratedWindows | None = None
    """Sliding windows of all networks together; None takes what each was calibrated
    for, where these are of one kind."""


def write_calibration(folder: Path, choice: EnsembleCalibration) -> None:
    """Writes the calibration beside the networks.

    Raises:
        OutputError: The folder cannot be written.
    """
    values = choice.model_dump(mode="json")
    write_text(folder / FILE, yaml.safe_dump(values, sort_keys=False))


def read_calibration(folder: Path) -> EnsembleCalibration | None:
    """Calibration of a folder's networks; None where there is none.

    Raises:
        SettingsError: The file is not what it should be.
    """
    path = folder / FILE
    return load_settings(EnsembleCalibration, path) if path.is_file() else None
