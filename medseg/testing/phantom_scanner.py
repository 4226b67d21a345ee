"""Simulated scans of a head with lesions: contrast, coil, noise, arbitrary units."""

import numpy as np
from scipy import ndimage

from medseg.testing.phantom_head import Head
from medseg.testing.phantom_lesions import Painting
from medseg.testing.phantom_waves import Waves

CHANNELS = ("FLAIR", "T1")
_FLAIR = {"gray": 120.0, "white": 95.0, "fluid": 25.0, "lesion": 195.0, "core": 60.0}
_T1 = {"lesion": 140.0, "core": 75.0}


def scan_head(
    head: Head,
    lesions: Painting,
    *,
    positions: np.ndarray,
    generator: np.random.Generator,
) -> np.ndarray:
    """Two channels, FLAIR-like and T1-weighted, int16, shape (2, I, J, K).

    Outside the brain all is 0, as in skull-stripped scans.

    Args:
        head: Tissues.
        lesions: Share of each voxel that is lesion and core.
        positions: World position of every voxel in mm, shape (3, I, J, K).
        generator: Draws everything that differs between scans.
    """
    channels = [
        _measured(ideal, head.brain, positions, generator)
        for ideal in (_flair(head, lesions), _t1(head, lesions))
    ]
    return np.stack(channels)


def _flair(head: Head, lesions: Painting) -> np.ndarray:
    """Fluid dark, grey matter above white, lesions bright.

    There is no FLAIR template: the contrast is made of the tissue maps, with the fine
    structure of the T1-weighted template inverted.
    """
    fluid = np.clip(head.brain - head.gray - head.white, 0, 1)
    tissue = head.gray * _FLAIR["gray"] + head.white * _FLAIR["white"]
    texture = (head.gray * 165 + head.white * 222 + fluid * 67 - head.t1) * 0.25
    return _with_lesions(tissue + fluid * _FLAIR["fluid"] + texture, lesions, _FLAIR)


def _t1(head: Head, lesions: Painting) -> np.ndarray:
    """The template's own contrast; lesions are darker than white matter."""
    return _with_lesions(head.t1, lesions, _T1)


def _with_lesions(
    ideal: np.ndarray, lesions: Painting, levels: dict[str, float]
) -> np.ndarray:
    weight = ndimage.gaussian_filter(lesions.lesion * lesions.contrast, 0.5)
    core = ndimage.gaussian_filter(lesions.core, 0.5)
    with_lesion = ideal + weight * (levels["lesion"] - ideal)
    return np.asarray(with_lesion + core * (levels["core"] - with_lesion))


def _measured(
    ideal: np.ndarray,
    brain: np.ndarray,
    positions: np.ndarray,
    generator: np.random.Generator,
) -> np.ndarray:
    """What a scanner makes of ideal intensities: gamma, bias field, Rician noise."""
    gamma = generator.uniform(0.85, 1.15)
    signal = 255 * np.clip(ideal / 255, 0, 1.5) ** gamma
    waves = Waves.draw(generator, wavelength_mm=180)
    signal *= np.exp(generator.uniform(0.05, 0.15) * waves.at(positions))
    deviation = generator.uniform(3, 9)
    real, imaginary = generator.normal(scale=deviation, size=(2, *ideal.shape))
    magnitude = np.hypot(signal + real, imaginary)
    units = generator.uniform(1.5, 8)
    return np.asarray(np.rint(magnitude * units * (brain > 0.5)), dtype=np.int16)
