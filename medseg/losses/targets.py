"""Checks and counts the labels that a loss is given."""

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


def count_labels(labels: Tensor, *, num_classes: int) -> tuple[Tensor, bool]:
    """Voxels of each class, and whether some are to be ignored.

    Args:
        labels: Indices of shape (N, V).
        num_classes: Largest index plus one.

    Returns:
        Counts of shape (N, L), float64; and False where no voxel is ignored. On a
        GPU always True, since looking would wait for it.

    Raises:
        LabelError: There is an index that is neither a class nor `IGNORE_INDEX`; on
            a GPU it is a failed assertion of the device.
    """
    if labels.device.type != "cpu":
        counts = _count_on_device(labels)
        known = counts[:, :num_classes].sum() + counts[:, IGNORE_INDEX].sum()
        torch._assert_async(known == labels.numel())  # noqa: SLF001 no public name
        return counts[:, :num_classes], True
    if labels.dtype != torch.uint8:
        _check_range(labels)
    counts = torch.stack([row.bincount(minlength=IGNORE_INDEX + 1) for row in labels])
    unknown = counts[:, num_classes:IGNORE_INDEX].sum(0).nonzero().flatten()
    if unknown.numel():
        _refuse((unknown + num_classes).tolist(), num_classes)
    ignored = bool(counts[:, IGNORE_INDEX].any())
    return counts[:, :num_classes].double(), ignored


def _check_range(labels: Tensor) -> None:
    low, high = (int(x) for x in labels.aminmax())
    if low < 0 or high > IGNORE_INDEX:
        raise LabelError(
            f"target holds indices from {low} to {high}, expected classes from 0 and "
            f"{IGNORE_INDEX} for voxels to leave out"
        )


def _refuse(unknown: list[int], num_classes: int) -> None:
    raise LabelError(
        f"target holds {unknown}, expected classes 0 to {num_classes - 1}, or "
        f"{IGNORE_INDEX} for voxels to leave out"
    )


def _count_on_device(labels: Tensor) -> Tensor:
    """Counts of shape (N, 257) without waiting for the device, the last for strays."""
    counts = labels.new_zeros((labels.shape[0], IGNORE_INDEX + 2), dtype=torch.float64)
    index = labels.long()
    known = (index >= 0) & (index <= IGNORE_INDEX)
    index = index.masked_fill(~known, IGNORE_INDEX + 1)
    ones = torch.ones((), dtype=torch.float64, device=labels.device)
    return counts.scatter_add_(1, index, ones.expand(index.shape))
