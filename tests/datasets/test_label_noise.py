"""Values that compression or smoothing left are told from structures."""

import io

import numpy as np
import pytest
from PIL import Image

from medseg.datasets.label_noise import noise_in

Y, X = np.indices((96, 120))


def disc(radius: int, *, at: tuple[int, int] = (40, 60)) -> np.ndarray:
    return ((Y - at[0]) ** 2 + (X - at[1]) ** 2 < radius**2).astype(np.uint8)


def jpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=quality)
    return np.array(Image.open(stream))[..., None]


@pytest.mark.parametrize("quality", [60, 75, 95])
@pytest.mark.parametrize("radius", [5, 30])
def test_jpeg_masks(radius, quality):
    voxels = jpeg(disc(radius) * 255, quality)
    left = set(np.unique(voxels)) - set(noise_in(voxels, lossy=True))
    assert left == {0, 255}
    assert set(noise_in(voxels)) <= set(noise_in(voxels, lossy=True))
    assert noise_in(voxels)


def test_jpeg_of_the_best_quality_is_still_jpeg():
    voxels = jpeg(disc(20) * 255, 100)
    assert set(np.unique(voxels)) - set(noise_in(voxels, lossy=True)) == {0, 255}


@pytest.mark.parametrize("filtering", [Image.Resampling.BILINEAR, Image.Resampling.BOX])
def test_smoothed_edges(filtering):
    smooth = Image.fromarray(disc(20) * 255).resize((77, 61), filtering)
    voxels = np.array(smooth)[..., None]
    assert set(np.unique(voxels)) - set(noise_in(voxels)) == {0, 255}


def test_a_smoothed_mask_in_three_dimensions():
    ball = sum((g - 12) ** 2 for g in np.indices((24, 24, 24))) < 64
    from scipy import ndimage

    voxels = np.rint(ndimage.gaussian_filter(ball * 100.0, 1.0)).astype(np.int16)
    assert 100 not in noise_in(voxels)
    assert len(noise_in(voxels)) > 20


def test_structures_are_no_noise():
    many = np.zeros((40, 40, 10), dtype=np.uint8)
    for value in range(1, 17):  # sixteen blocks, the smallest of eight voxels
        i, j = divmod(value - 1, 4)
        many[10 * i : 10 * i + 2 + value % 5, 10 * j : 10 * j + 2, :2] = value
    assert noise_in(many) == ()
    assert noise_in(disc(20)[..., None]) == ()
    assert noise_in(np.zeros((4, 4, 4), np.uint8)) == ()


def test_points_alone_are_no_noise():
    points = np.zeros((40, 40, 3), dtype=np.uint8)
    points[::5, ::5, 1] = np.arange(1, 65).reshape(8, 8)
    assert noise_in(points) == ()
