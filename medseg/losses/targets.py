"""Checks the labels that a loss is given, and takes them to coarser grids."""

import torch
from torch import Tensor

from medseg.errors import LabelError
from medseg.labels import IGNORE_INDEX


def check_shapes(logits: Tensor, target: Tensor, *, num_channels: int) -> None:
    """Refuses logits and target that do not belong together.

    Raises:
        LabelError: The shapes differ, or the number of channels is another.
    """
    expected = (logits.shape[0], *logits.shape[2:])
    if tuple(target.shape) != expected:
        raise LabelError(
            f"target has shape {tuple(target.shape)}, expected {expected}: label "
            f"indices without a channel axis, for logits {tuple(logits.shape)}"
        )
    if logits.shape[1] != num_channels:
        raise LabelError(
            f"logits have {logits.shape[1]} channels, the loss was built for "
            f"{num_channels}"
        )
    if target.is_floating_point() or target.is_complex():
        raise LabelError(f"target is {target.dtype}, expected integer label indices")


def nonfinite_alarm(logits: Tensor) -> Tensor:
    """0, or NaN where a logit is NaN or +∞, for a loss that may not see it.

    Probabilities hide such logits: the sigmoid of +∞ is 1, and voxels to ignore are
    left out. Training would go on with weights that are no numbers.
    """
    return 0 * logits.detach().amax()


def check_labels(target: Tensor, *, num_classes: int) -> None:
    """Refuses indices that are neither a class nor `IGNORE_INDEX`.

    Raises:
        LabelError: There is one; elsewhere than on a CPU it is a failed assertion of
            the device, which is not waited for.
    """
    if target.device.type != "cpu":
        known = (target >= 0) & (target < num_classes) | (target == IGNORE_INDEX)
        torch._assert_async(known.all())  # noqa: SLF001 no public name
        return
    low, high = (int(x) for x in target.aminmax())
    if low < 0 or high > IGNORE_INDEX:
        raise LabelError(
            f"target holds indices from {low} to {high}, expected classes from 0 and "
            f"{IGNORE_INDEX} for voxels to leave out"
        )
    if high == IGNORE_INDEX:
        high = int(target.masked_fill(target == IGNORE_INDEX, 0).max())
    if high >= num_classes:
        unknown = {int(x) for x in torch.unique(target)} - {
            *range(num_classes),
            IGNORE_INDEX,
        }
        _refuse(sorted(unknown), num_classes)


def subsample(target: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Labels at the centre of each voxel of a coarser grid, shape (N, *shape).

    Along an axis of `old` voxels, voxel x of `new` ones takes the label at
    ⌊(x + 1/2) old / new⌋: a view where `old` is a multiple of `new`.
    """
    for axis, (old, new) in enumerate(zip(target.shape[1:], shape, strict=True), 1):
        if old % new == 0:
            step = old // new
            target = target[(slice(None),) * axis + (slice(step // 2, None, step),)]
        else:
            odd = 2 * torch.arange(new, device=target.device) + 1
            target = target.index_select(axis, odd * old // (2 * new))
    return target


def _refuse(unknown: list[int], num_classes: int) -> None:
    raise LabelError(
        f"target holds {unknown}, expected classes 0 to {num_classes - 1}, or "
        f"{IGNORE_INDEX} for voxels to leave out"
    )
