"""The scan that a label map belongs to, for pictures and viewer pages."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medseg.errors import MedsegError
from medseg.progress import Progress
from medseg.reading import read_volume
from medseg.volume import LabelMap, Volume


def scan_or_black(
    case_id: str, reference: LabelMap, images: Sequence[Path], progress: Progress
) -> Volume:
    """A scan on the grid of its label map; black where it is not known or not usable.

    Args:
        case_id: For messages.
        reference: The label map.
        images: Files of the scan; none where it is not known.
        progress: Warned of a scan that cannot be used.
    """
    try:
        if images:
            volume = read_volume(images).turned_to(reference.grid)
            volume.grid.require_match(
                reference.grid, what=f"{case_id}: scan, label map"
            )
            return volume
    except MedsegError as error:
        progress.warn(f"{case_id}: pictured without its scan: {error}")
    return Volume(np.zeros((1, *reference.voxels.shape), np.uint8), reference.affine)
