"""The labels that a loss is given: checked, made coarser, or partly left out.

Where nobody drew some structures of a case, a voxel without a label is background or
any of them. A softmax loss therefore sees the sum of their probabilities as one, the
marginal loss; it is had for every loss by merging logits before: z_0' = log(exp z_0 +
sum of exp z_u), and z_u' so low that its probability is 0. A region that such a
structure is part of is known where its other members are drawn and unknown in the
background; there its own logit is set so low that it adds nothing.

References:
    Fang and Yan, IEEE Trans Med Imaging 2020, doi:10.1109/TMI.2020.3001036.
    Shi et al., Med Image Anal 2021, doi:10.1016/j.media.2021.101979.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

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


NEVER = -1e4
"""A logit whose probability is 0 in every number format."""


class PartialLabelLoss(nn.Module):
    """A loss that leaves out what a case does not annotate."""

    def __init__(
        self, loss: nn.Module, *, regions: Sequence[Sequence[int]] = ()
    ) -> None:
        """Wraps a loss.

        Args:
            loss: Called with logits, or a list of them, and target.
            regions: Classes of each overlapping region; empty where the logits have
                one channel per class.
        """
        super().__init__()
        self.loss = loss
        self.regions = tuple(tuple(members) for members in regions)

    def forward(
        self,
        logits: Tensor | Sequence[Tensor],
        target: Tensor,
        unannotated: Tensor | None = None,
    ) -> Tensor:
        """The loss; that of complete labels where nothing is unannotated.

        Args:
            logits: Shape (N, L, *spatial), or a list of such, full resolution first.
            target: Class indices at full resolution, shape (N, *spatial).
            unannotated: Classes that a patch's case does not annotate, boolean, shape
                (N, classes with the background); None for none.
        """
        if unannotated is not None:
            if isinstance(logits, Tensor):
                logits = self._merge(logits, target, unannotated)
            else:
                logits = [self._merge(z, target, unannotated) for z in logits]
        value: Tensor = self.loss(logits, target)
        return value

    def _merge(self, logits: Tensor, target: Tensor, unannotated: Tensor) -> Tensor:
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if not self.regions:
            return merge_unannotated(logits, unannotated)
        here = subsample(target, tuple(logits.shape[2:]))
        unknown = regions_of(unannotated, self.regions)
        return silence_regions(logits, here, unknown)


def merge_unannotated(logits: Tensor, unannotated: Tensor) -> Tensor:
    """Logits of a softmax with unannotated classes merged into the background.

    Args:
        logits: Shape (N, L, *spatial), background first.
        unannotated: Boolean, shape (N, L).
    """
    left_out = _over_space(unannotated, logits)
    joined = left_out.clone()
    joined[:, 0] = True
    background = torch.logsumexp(
        torch.where(joined, logits, _never(logits)), dim=1, keepdim=True
    )
    others = torch.where(left_out, _never(logits), logits)[:, 1:]
    return torch.cat([background, others], dim=1)


def silence_regions(logits: Tensor, target: Tensor, unknown: Tensor) -> Tensor:
    """Logits of regions, without effect where a region's truth is not known.

    Args:
        logits: Shape (N, R, *spatial).
        target: Class indices on the same grid, shape (N, *spatial).
        unknown: Regions that are incompletely annotated, boolean, shape (N, R).
    """
    outside = (target == 0)[:, None]
    return torch.where(_over_space(unknown, logits) & outside, _never(logits), logits)


def regions_of(unannotated: Tensor, regions: Sequence[Sequence[int]]) -> Tensor:
    """Which regions have an unannotated member, boolean, shape (N, R)."""
    return torch.stack(
        [unannotated[:, list(members)].any(dim=1) for members in regions], dim=1
    )


def _over_space(mask: Tensor, logits: Tensor) -> Tensor:
    return mask.reshape(*mask.shape, *[1] * (logits.ndim - 2))


def _never(logits: Tensor) -> Tensor:
    """Constants, but NaN and infinite logits stay what they are: no numbers."""
    return logits.detach() * 0 + NEVER
