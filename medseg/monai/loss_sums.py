"""MONAI's targets and the sums over the voxels that its losses need, in one pass.

MONAI takes label maps with a channel axis, of any type, or a channel per class that may
hold soft labels. The passes read one integer per voxel. Where a target cannot be told
by one, the answer is None.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from medseg.labels import IGNORE_INDEX
from medseg.losses.fused import Channels
from medseg.losses.regions import TverskyLoss
from medseg.losses.terms import ChannelTerm, RegionTerm, Terms, VoxelTerm
from medseg.losses.voxel_sums import VoxelSums, voxel_sums

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


MAX_AXES = 5
"""The passes know two and three spatial axes, and one."""
LARGE_BYTES = 32 << 20
"""Logits above this: the C library asks the system for new memory for each result."""
MANY_CHANNELS = 4
"""Channels from which a chunk of voxels keeps a core's vector units busy."""


@dataclass(frozen=True)
class Request:
    """How a loss reads logits and target."""

    sigmoid: bool
    """Channels are overlapping regions with a sigmoid; else classes with a softmax."""
    to_onehot_y: bool
    """The target is a label map (N, 1, *spatial); else a channel per class."""
    squared: bool = False
    """Sum p² in place of p."""
    voxel: VoxelTerm | None = None
    """Softmax focal loss or cross-entropy."""
    channel: ChannelTerm | None = None
    """Sigmoid focal loss or binary cross-entropy."""
    ignore_index: int | None = None
    """The label to ignore."""

    def with_terms(
        self,
        voxel: VoxelTerm | None,
        channel: ChannelTerm | None,
        *,
        to_onehot_y: bool | None = None,
    ) -> "Request":
        """The same with other terms."""
        kind = self.to_onehot_y if to_onehot_y is None else to_onehot_y
        return replace(self, voxel=voxel, channel=channel, to_onehot_y=kind)


def sums_of(request: Request, logits: Tensor, target: Tensor) -> VoxelSums | None:
    """The sums, or None where MONAI's own formula has to do.

    Args:
        request: How the loss reads them.
        logits: Shape (N, L, *spatial).
        target: Shape (N, L or 1, *spatial).
    """
    if not _is_plain(logits, target) or not is_faster(request, logits):
        return None
    logits, target = _as_tensor(logits), _as_tensor(target)
    found = _labels(request, logits, target)
    if found is None:
        return None
    labels, channels = found
    region = RegionTerm(TverskyLoss(), squared=request.squared)
    terms = Terms(request.sigmoid, region, request.voxel, request.channel)
    return voxel_sums(logits, labels, channels=channels, terms=terms)


def is_faster(request: Request, logits: Tensor) -> bool:
    """Whether the passes are worth it; measured by ``benchmarks/monai_parts.py``.

    A processor adds up regions alone as quickly by MONAI's few operations, until their
    results are so large that fresh memory costs more than arithmetic.
    """
    if logits.device.type != "cpu":
        return True
    is_large = logits.numel() * logits.element_size() > LARGE_BYTES
    has_many = logits.shape[1] >= MANY_CHANNELS
    if request.channel is not None:
        return is_large or request.channel.gamma > 0
    if request.voxel is not None:
        return is_large or has_many
    return is_large and has_many and not request.sigmoid


def _is_plain(logits: Tensor, target: Tensor) -> bool:
    return (
        isinstance(logits, Tensor)
        and isinstance(target, Tensor)
        and 3 <= logits.ndim <= MAX_AXES
        and logits.ndim == target.ndim
        and logits.is_floating_point()
        and logits.numel() > 0
        and logits.device == target.device
        and logits.shape[0] == target.shape[0]
        and logits.shape[2:] == target.shape[2:]
        and not target.requires_grad
    )


def _as_tensor(tensor: Tensor) -> Tensor:
    """Without MONAI's meta data, whose bookkeeping every operation would pay for."""
    as_tensor = getattr(tensor, "as_tensor", None)
    return tensor if as_tensor is None else as_tensor()


def _labels(
    request: Request, logits: Tensor, target: Tensor
) -> tuple[Tensor, Channels] | None:
    """Labels (N, *spatial), and what the channels of the logits are of them."""
    num_channels, num_masks = logits.shape[1], target.shape[1]
    if not request.to_onehot_y:
        if num_masks != num_channels or request.ignore_index is not None:
            return None
        return _labels_of_masks(request, target)
    if num_channels == 1 or num_masks != 1:
        return None
    labels = label_map(
        target, num_classes=num_channels, ignore_index=request.ignore_index
    )
    own = tuple((label,) for label in range(num_channels))
    channels = Channels(num_channels, own if request.sigmoid else ())
    return None if labels is None else (labels, channels)


def _labels_of_masks(
    request: Request, target: Tensor
) -> tuple[Tensor, Channels] | None:
    """The same for a target with a channel for each of the logits'."""
    num_channels = target.shape[1]
    if request.squared and not target.is_floating_point():
        return None  # MONAI's norm refuses masks of integers
    if request.sigmoid:
        labels = packed_masks(target)
        return None if labels is None else (labels, _packed_channels(num_channels))
    labels = one_hot_labels(target) if num_channels > 1 else None
    return None if labels is None else (labels, Channels(num_channels))


def _packed_channels(num_masks: int) -> Channels:
    """What bytes mean whose bits are masks."""
    bytes_of = range(1 << num_masks)
    regions = (
        tuple(value for value in bytes_of if value >> bit & 1)
        for bit in range(num_masks)
    )
    return Channels(1 << num_masks, tuple(regions))
