import numpy as np

from medseg.reporting.clearest_channel import clearest_channel


def test_the_channel_with_the_clearest_structures_is_found():
    noise = np.random.default_rng(0).normal(size=(3, 30, 30, 30))
    structures = np.zeros((30, 30, 30), bool)
    structures[10:15, 8:14, 12:20] = True
    image = noise.copy()
    image[0] *= 100  # deviations count, not units
    image[0, structures] += 60
    image[1, structures] -= 3  # dark is as clear as bright
    image[2, structures] += 1
    assert clearest_channel(image, structures) == 1


def test_what_is_far_away_does_not_count():
    structures = np.zeros((60, 60, 60), bool)
    structures[28:32, 28:32, 28:32] = True
    image = np.random.default_rng(0).normal(size=(2, 60, 60, 60))
    image[0, :, :, :8] -= 50  # air, far from the structures
    image[0, structures] += 0.5
    image[1, structures] += 2
    assert clearest_channel(image, structures) == 1


def test_what_is_no_number_does_not_count():
    image = np.random.default_rng(0).normal(size=(3, 20, 20, 20))
    structures = np.zeros((20, 20, 20), bool)
    structures[8:12, 8:12, 8:12] = True
    image[1, structures] += 5
    image[1, 9, 9, 9] = np.inf
    image[2, 10, 10, 10] = np.nan
    assert clearest_channel(image, structures) == 1
    image[1] = np.nan
    assert clearest_channel(image, structures) != 1


def test_without_structures_or_surroundings_it_is_the_first():
    image = np.random.default_rng(0).normal(size=(2, 4, 4, 4))
    assert clearest_channel(image, np.zeros((4, 4, 4), bool)) == 0
    assert clearest_channel(image, np.ones((4, 4, 4), bool)) == 0
    image[1, :2] += 9
    half = np.arange(4)[:, None, None] < np.full((1, 4, 4), 2)
    assert clearest_channel(image, half) == 1
    assert clearest_channel(image[:1], half) == 0
