"""All training cases on the GPU, where batches are cut out of them by index."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from medseg.labels import IGNORE_INDEX
from medseg.sampling import Draw
from medseg.store import StoredCase

SHARE = 1 / 3
"""Of a GPU's free memory that the cases may take; the network needs the rest."""

_OUTSIDE = {"zero": 0, "edge": IGNORE_INDEX}

CacheKind = Literal["gpu", "ram", "disk"]


def bytes_needed(cases: Sequence[StoredCase]) -> int:
    """Bytes of the images and labels of cases, as stored."""
    voxels = [int(np.prod(case.shape)) for case in cases]
    sizes = [case.image.dtype.itemsize * case.num_channels + 1 for case in cases]
    return sum(n * size for n, size in zip(voxels, sizes, strict=True))


def choose_cache(
    wanted: str, cases: Sequence[StoredCase], device: torch.device
) -> tuple[CacheKind, str]:
    """Where patches will come from, and why.

    Args:
        wanted: As `SamplingSettings.cache` has it.
        cases: What training draws from.
        device: Where batches are needed.
    """
    on_gpu = device.type == "cuda"
    if wanted in ("ram", "disk"):
        return ("ram" if wanted == "ram" else "disk"), "as asked"
    if not on_gpu:
        return "disk", "training runs on the CPU"
    if wanted == "gpu":
        return "gpu", "as asked"
    needed = bytes_needed(cases)
    free, _ = torch.cuda.mem_get_info(device)
    words = f"{needed / 1e9:.2f} GB of cases, {free / 1e9:.1f} GB free on the GPU"
    return ("gpu" if needed <= SHARE * free else "disk"), words


class ResidentCases:
    """Images as stored and labels of all cases, on one device."""

    def __init__(
        self, cases: Sequence[StoredCase], *, device: torch.device, spatial_dims: int
    ) -> None:
        """Copies the cases.

        Args:
            cases: The sequence that the sampler was given.
            device: Where they shall lie.
            spatial_dims: 2 drops the last axis of patches.
        """
        self._device, self._dims = device, spatial_dims
        self._cases = cases
        self._images = [_copy(np.asarray(case.image[:]), device) for case in cases]
        self._labels = [_copy(np.asarray(case.target[:]), device) for case in cases]

    def gather(
        self, draws: Sequence[Draw], *, padding: str
    ) -> tuple[Tensor, Tensor, np.ndarray]:
        """Patches on the device, and their labels on the CPU, which are counted.

        The same patches as `medseg.sampling.gather` gives.

        Args:
            draws: What the sampler drew.
            padding: ``zero`` or ``edge``, what lies outside of a case.
        """
        images, labels = [], []
        shown = np.empty((len(draws), *draws[0].size), dtype=np.uint8)
        for number, draw in enumerate(draws):
            shape = self._cases[draw.case_index].shape
            along = _along(draw, self._device)
            i, j, k = _index(along, shape)
            image = self._images[draw.case_index][:, i, j, k].float()
            label = self._labels[draw.case_index][i, j, k]
            if not _lies_inside(draw, shape):
                mask, outside = _mask(along, shape), _OUTSIDE[padding]
                label = label.masked_fill(~mask, outside)
                if padding == "zero":
                    image = image * mask
            images.append(image)
            labels.append(label)
            shown[number] = self._count(draw, padding)
        patches, classes = torch.stack(images), torch.stack(labels)
        if self._dims == 2:
            return patches[..., 0], classes[..., 0], shown[..., 0]
        return patches, classes, shown

    def _count(self, draw: Draw, padding: str) -> np.ndarray:
        """The labels of a patch from the files, so that nobody waits for the device."""
        case = self._cases[draw.case_index]
        box = draw.inside(case.shape)
        patch = np.full(draw.size, _OUTSIDE[padding], dtype=np.uint8)
        to = tuple(
            slice(part.start - start, part.stop - start)
            for part, start in zip(box, draw.corner, strict=True)
        )
        patch[to] = case.label[box]
        return patch


def _copy(array: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(device)


def _lies_inside(draw: Draw, shape: tuple[int, ...]) -> bool:
    """Whether a patch lies within its case."""
    return all(
        start >= 0 and start + size <= length
        for start, size, length in zip(draw.corner, draw.size, shape, strict=True)
    )


def _along(draw: Draw, device: torch.device) -> list[Tensor]:
    """For each axis, the places of a patch's voxels in its case."""
    return [
        torch.arange(start, start + size, device=device)
        for start, size in zip(draw.corner, draw.size, strict=True)
    ]


def _index(
    along: Sequence[Tensor], shape: tuple[int, ...]
) -> tuple[Tensor, Tensor, Tensor]:
    """Voxels of the case for each voxel of a patch, the border's beyond it."""
    i, j, k = (at.clamp(0, length - 1) for at, length in zip(along, shape, strict=True))
    return i[:, None, None], j[:, None], k


def _mask(along: Sequence[Tensor], shape: tuple[int, ...]) -> Tensor:
    """Which voxels of a patch lie within the case."""
    i, j, k = (
        (at >= 0) & (at < length) for at, length in zip(along, shape, strict=True)
    )
    return i[:, None, None] & j[:, None] & k
