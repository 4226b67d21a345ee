"""Where MONAI lays its windows over an image, and how much their voxels count.

References:
    `monai.inferers.sliding_window_inference`, MONAI 1.6: what the arguments mean.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from monai.data.utils import compute_importance_map, dense_patch_slices
from monai.utils.enums import BlendMode, PytorchPadMode
from monai.utils.misc import ensure_tuple_rep, fall_back_tuple
from monai.utils.module import look_up_option
from torch import Tensor
from torch.nn import functional as F

from medseg.inference.tiling import Box


@dataclass(frozen=True)
class WindowGrid:
    """The windows over one image of a batch, as large as they are or padded.

    Attributes:
        size: Voxels of an image, padded to a window at least.
        window: Voxels of a window.
        boxes: Windows in MONAI's order, the first axis outermost.
        padding: Voxels added before and after each axis.
        importance: Weights of a window's voxels, shape (*window).
    """

    size: tuple[int, ...]
    window: tuple[int, ...]
    boxes: tuple[Box, ...]
    padding: tuple[tuple[int, int], ...]
    importance: Tensor

    def padded(self, images: Tensor, *, mode: str, value: float) -> Tensor:
        """Images (N, C, *spatial) with the padding around them."""
        if not any(map(any, self.padding)):
            return images
        flat = [number for pair in reversed(self.padding) for number in pair]
        return F.pad(images, flat, look_up_option(mode, PytorchPadMode), value)

    def batches(
        self, num_images: int, batch_size: int
    ) -> Iterator[list[tuple[int, int]]]:
        """Which windows go to the predictor at once: images and numbers of boxes."""
        count = len(self.boxes)
        for first in range(0, num_images * count, batch_size):
            last = min(first + batch_size, num_images * count)
            yield [divmod(index, count) for index in range(first, last)]


def window_grid(
    images: Tensor,
    roi_size: Sequence[int] | int,
    *,
    overlap: Sequence[float] | float,
    mode: BlendMode | str,
    sigma_scale: Sequence[float] | float,
    roi_weight_map: Tensor | None,
    device: torch.device,
) -> WindowGrid:
    """MONAI's windows over images of a size.

    Args:
        images: Shape (N, C, *spatial); their size, type and number of axes count.
        roi_size: Voxels of a window; none or less is the whole axis.
        overlap: Share of a window that its neighbour covers again, below 1.
        mode: How windows are blended.
        sigma_scale: Deviation of the Gaussian as a share of the window.
        roi_weight_map: Weights in place of those of the mode.
        device: Where the weights are.
    """
    shape = tuple(images.shape[2:])
    window = tuple(int(n) for n in fall_back_tuple(roi_size, shape))
    size = tuple(max(n, w) for n, w in zip(shape, window, strict=True))
    spare = [n - old for n, old in zip(size, shape, strict=True)]
    padding = tuple((gap // 2, gap - gap // 2) for gap in spare)
    overlaps = ensure_tuple_rep(overlap, len(shape))
    steps = [
        w if w == n else max(1, int(w * (1 - share)))
        for n, w, share in zip(size, window, overlaps, strict=True)
    ]
    boxes: Any = dense_patch_slices(size, window, steps)
    if roi_weight_map is None:
        importance = compute_importance_map(
            window, mode=mode, sigma_scale=sigma_scale, device=device
        )
    else:
        importance = torch.as_tensor(roi_weight_map).reshape(window)
    importance = importance.to(device=device, dtype=images.dtype)
    whole = tuple(tuple(slice(int(s.start), int(s.stop)) for s in b) for b in boxes)
    return WindowGrid(size, window, whole, padding, importance)


def grid_or_none(
    inputs: Tensor,
    roi_size: Sequence[int] | int,
    overlap: Sequence[float] | float,
    mode: BlendMode | str,
    sigma_scale: Sequence[float] | float,
    roi_weight_map: Tensor | None,
    sw_device: torch.device | str | None,
) -> WindowGrid | None:
    """The windows; None where MONAI has to say what is wrong."""
    axes = inputs.ndim - 2
    if axes < 1 or not inputs.is_floating_point() or inputs.numel() == 0:
        return None
    if isinstance(roi_size, Sequence) and len(roi_size) != axes:
        return None
    try:
        if not all(0 <= share < 1 for share in ensure_tuple_rep(overlap, axes)):
            return None
        return window_grid(
            without_meta_data(inputs),
            roi_size,
            overlap=overlap,
            mode=mode,
            sigma_scale=sigma_scale,
            roi_weight_map=roi_weight_map,
            device=torch.device(sw_device or inputs.device),
        )
    except (TypeError, ValueError, RuntimeError):
        return None


def without_meta_data(inputs: Tensor) -> Tensor:
    """Images without MONAI's meta data."""
    as_tensor = getattr(inputs, "as_tensor", None)
    return inputs if as_tensor is None else as_tensor()
