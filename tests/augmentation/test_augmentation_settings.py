"""Settings refuse nonsense, and suggestions fit the patch."""

import subprocess
import sys

import pytest

from medseg.augmentation import AugmentationSettings, suggest_augmentation
from medseg.errors import SettingsError
from medseg.settings import parse_settings


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rotation_probability": 1.5}, "rotation_probability: must be at most 1"),
        ({"scaling": [0, 1]}, "scaling: .*must be above 0"),
        ({"gamma": [2, 1]}, "gamma: .*lower bound 2.0 exceeds upper bound 1.0"),
        ({"noise": [-1, 1]}, "noise: .*must not be below 0"),
        ({"elastic_magnitude": 0.5}, r"elastic_magnitude: must be at most 0\.4"),
        ({"flips": True}, "flips: unknown key"),
    ],
)
def test_nonsense_is_named(values, message):
    with pytest.raises(SettingsError, match=message):
        parse_settings(AugmentationSettings, values)


def test_cubic_patches_get_the_defaults():
    got = suggest_augmentation((40, 56, 40), spacing=(1, 1, 1))
    assert got == AugmentationSettings(flip_axes=(0,))


def test_thick_slices_turn_within_the_slice():
    got = suggest_augmentation((256, 256, 16), spacing=(0.7, 0.7, 5))
    assert (got.thick_axis, got.rotation_degrees) == (2, 15)


def test_long_slices_turn_little():
    got = suggest_augmentation((320, 160), spacing=(1, 1))
    assert (got.thick_axis, got.rotation_degrees) == (None, 15)


def test_square_images_turn_fully():
    got = suggest_augmentation((256, 256), spacing=(1, 1), left_right_axis=None)
    assert (got.rotation_degrees, got.flip_axes) == (180, (0, 1))


def test_sides_are_not_swapped():
    got = suggest_augmentation((64, 64, 64), spacing=(1, 1, 1), has_sides=True)
    assert got.flip_axes == ()


def test_settings_need_no_torch():
    code = (
        "import sys, medseg.augmentation as a; a.AugmentationSettings();"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
