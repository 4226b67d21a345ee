"""Lines of values are out of scope, and whatever meets one says so."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from medseg.datasets import load_dataset
from medseg.datasets.doctor import examine
from medseg.errors import InputError, MedsegError, SettingsError
from medseg.io import read_volume
from medseg.networks.build import build_network
from medseg.networks.settings import DeepLabSettings, FCNSettings, UNetSettings
from medseg.preparation import prepare
from medseg.runs.config import RunConfig
from medseg.settings import parse_settings

OUT_OF_SCOPE = "one-dimensional signals are out of scope"


def write_lines(folder: Path, suffix: str) -> Path:
    generator = np.random.default_rng(0)
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
        for number in range(3):
            line = generator.integers(0, 2, 50).astype(np.uint8)
            path = folder / part / f"s{number}{suffix}"
            if suffix == ".png":
                Image.fromarray(line[None] * 255).save(path)
            else:
                image = nibabel.Nifti1Image(line.reshape(50, 1, 1), np.eye(4))
                nibabel.save(image, path)
    return folder


def test_a_nifti_file_of_one_axis_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "signal.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.zeros(50, np.float32), np.eye(4)), path)
    with pytest.raises(InputError, match=OUT_OF_SCOPE):
        read_volume(path)


@pytest.mark.parametrize("suffix", [".nii.gz", ".png"])
def test_lines_are_found_by_doctor_and_refused_by_prepare(
    tmp_path: Path, suffix: str
) -> None:
    folder = write_lines(tmp_path / "data", suffix)
    found = [x for x in examine(folder).findings if x.kind == "one axis"]
    assert len(found) == 3
    assert all(OUT_OF_SCOPE in finding.message for finding in found)
    with pytest.raises(MedsegError, match=OUT_OF_SCOPE):
        prepare(load_dataset(folder), tmp_path / "store", num_folds=2, workers=1)


@pytest.mark.parametrize(
    "values",
    [
        {"prepare": {"spatial_dims": 1}},
        {"plan": {"patch_size": [64]}},
    ],
)
def test_configurations_of_one_axis_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match=OUT_OF_SCOPE):
        parse_settings(RunConfig, values)


@pytest.mark.parametrize(
    "settings",
    [
        UNetSettings(channels=(4, 8), strides=(1, 2)),
        FCNSettings(),
        DeepLabSettings(),
    ],
)
def test_networks_of_one_axis_are_refused(settings) -> None:
    with pytest.raises(SettingsError, match=OUT_OF_SCOPE):
        build_network(settings, spatial_dims=1, in_channels=1, out_channels=2)
