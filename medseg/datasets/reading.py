"""The images of a case, with as many channels as the data set has."""

import numpy as np

from medseg.datasets.case import Case, Dataset
from medseg.errors import DatasetError
from medseg.io import read_volume
from medseg.volume import Volume


def read_images(dataset: Dataset, case: Case) -> Volume:
    """All channels of a case.

    A grey picture in a data set of coloured ones is taken as a coloured one whose
    channels are equal.

    Raises:
        InputError: A file cannot be read, or the channels lie on different grids.
        DatasetError: The number of channels is another one.
    """
    volume = read_volume(case.images)
    expected = len(dataset.channels)
    if volume.num_channels == expected:
        return volume
    if volume.num_channels == 1 and set(dataset.channels) == {"red", "green", "blue"}:
        return Volume(np.repeat(volume.voxels, expected, axis=0), volume.affine)
    raise DatasetError(
        f"{case.case_id}: {case.images[0]} has {volume.num_channels} channels, "
        f"expected {expected} ({', '.join(dataset.channels)})"
    )
