"""Probabilities of an imported nnU-Net model, as nnU-Net itself computes them."""

import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from medseg.geometry import Reorientation
from medseg.inference.nnunet.axes import NnUNetImage
from medseg.inference.nnunet.decision import on_new_grid
from medseg.inference.nnunet.preprocess import Box
from medseg.inference.nnunet.resample import Resize
from medseg.inference.probability_writer import probability_file
from medseg.labels import LabelScheme
from medseg.placement import Placement, crop_grid


def write_probabilities(
    path: Path,
    logits: Tensor,
    resampling: Resize,
    *,
    image: NnUNetImage,
    box: Box,
    scheme: LabelScheme,
) -> None:
    """Writes the probabilities of each class, or region, on the scan's own grid.

    Logits are resampled class by class into a file beside it, so that memory holds one
    class at a time; softmax (regions: sigmoid) is float32, as nnU-Net's.

    Args:
        path: A .b2nd file.
        logits: Float16 (L, a, b, c) on the network's grid.
        resampling: To the cropped scan.
        image: The scan in nnU-Net's axes.
        box: The part of it that was kept, its non-zero region.
        scheme: What the channels are.

    Raises:
        OutputError: The disk is full, or cannot be written.
    """
    placement = _placement(image, box)
    with (
        probability_file(path, placement, scheme) as file,
        tempfile.TemporaryFile(dir=path.parent) as place,
    ):
        shape = (len(logits), *resampling.shape)
        moved = np.memmap(place, np.float16, "w+", shape=shape)
        for number, one in enumerate(logits):
            moved[number] = on_new_grid(one, resampling)
        depth, first = file.boundaries(0)
        size = resampling.shape[0]
        starts = [*range(first - depth if first else 0, size, depth)]
        for start in starts:
            rows = slice(max(start, 0), min(start + depth, size))
            part = torch.from_numpy(moved[:, rows].astype(np.float32))
            shares = part.sigmoid() if scheme.regions else part.softmax(dim=0)
            where = (rows, *(slice(0, n) for n in resampling.shape[1:]))
            file.put(where, shares.half().numpy(), axis=0)


def _placement(image: NnUNetImage, box: Box) -> Placement:
    """How the cropped scan, in nnU-Net's axes, lies in the scan."""
    turn, axes = image.turn, image.axes
    order = tuple(turn.order[axis] for axis in axes)
    flips = tuple(turn.flips[axis] for axis in axes)
    crop = tuple((side.start, side.stop) for side in box)
    whole = Placement(
        source=image.source,
        reorientation=Reorientation((order[0], order[1], order[2]), flips),  # type: ignore[arg-type]
        crop=(crop[0], crop[1], crop[2]),
        prepared=image.source,
    )
    prepared = crop_grid(whole.reoriented, whole.crop)
    return Placement(whole.source, whole.reorientation, whole.crop, prepared)
