"""MONAI's targets as the label maps that the fused passes read.

MONAI takes label maps with a channel axis, of any type, or a channel per class that may
hold soft labels. The passes read one integer per voxel. Where a target cannot be told
by one, the answer is None.
"""

import torch
from torch import Tensor

from medseg.labels import IGNORE_INDEX

MAX_CLASSES = IGNORE_INDEX
"""Labels are bytes, of which the last one means to ignore."""
MAX_MASKS = 7
"""Masks of which a byte can tell every combination, but for the one to ignore."""


def label_map(
    target: Tensor, *, num_classes: int, ignore_index: int | None
) -> Tensor | None:
    """Labels (N, *spatial) as uint8, those to ignore as 255.

    Args:
        target: Label map (N, 1, *spatial) of any real type; fractions are cut off, as
            `monai.networks.one_hot` does.
        num_classes: Labels from here on cannot be told; on another device than a CPU
            they are a failed assertion of it, as with MONAI.
        ignore_index: The label to ignore, whether a class or not.
    """
    if num_classes > MAX_CLASSES or target.is_complex():
        return None
    labels = target[:, 0].detach()
    ignored = None if ignore_index is None else labels == ignore_index
    counted = labels if ignored is None else labels.masked_fill(ignored, 0)
    if counted.device.type == "cpu":
        if counted.dtype == torch.bool:
            counted = counted.byte()
        low, high = counted.aminmax()
        if not (low >= 0 and high < num_classes):
            return None
    else:
        known = (counted >= 0) & (counted < num_classes)
        torch._assert_async(known.all())  # noqa: SLF001 no public name
    plain = counted.to(torch.uint8)
    return plain if ignored is None else plain.masked_fill(ignored, IGNORE_INDEX)


def packed_masks(target: Tensor) -> Tensor | None:
    """A byte per voxel, (N, *spatial), whose bits are the masks (N, C, *spatial).

    None where there are more than `MAX_MASKS`, or a value is neither 0 nor 1.
    """
    if target.shape[1] > MAX_MASKS:
        return None
    found = _as_bytes(target)
    if found is None:
        return None
    packed = found[0]
    for bit, mask in enumerate(found[1:], 1):
        packed = packed | (mask << bit)
    return packed


def one_hot_labels(target: Tensor) -> Tensor | None:
    """The labels (N, *spatial) of a one-hot target (N, C, *spatial), as uint8.

    None where a voxel has no class, several, or a share of one.
    """
    if target.shape[1] > MAX_CLASSES:
        return None
    found = _as_bytes(target)
    if found is None:
        return None
    labels, count = torch.zeros_like(found[0]), found[0].clone()
    for label, mask in enumerate(found[1:], 1):
        labels += mask * label
        count += mask
    return labels if bool((count == 1).all()) else None


def _as_bytes(target: Tensor) -> list[Tensor] | None:
    """Each channel of 0 and 1, as uint8; None if it holds anything else."""
    channels = [part.detach() for part in target.unbind(1)]
    if target.dtype == torch.bool:
        return [part.byte() for part in channels]
    found = []
    for part in channels:
        mask = part != 0
        if not torch.equal(mask.to(part.dtype), part):
            return None
        found.append(mask.byte())
    return found
