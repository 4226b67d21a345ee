"""Losses on cases whose label maps leave some structures out, because nobody drew them.

In such a case a voxel without a label is background or any of the structures that were
not drawn. A softmax loss therefore sees the sum of their probabilities as one, the
marginal loss; it is had for every loss by merging logits before:
z_0' = log(exp z_0 + sum of exp z_u), and z_u' so low that its probability is 0. A
region that such a structure is part of is known where its other members are drawn and
unknown in the background; there its own logit is set so low that it adds nothing.

References:
    Fang and Yan, IEEE Trans Med Imaging 2020, doi:10.1109/TMI.2020.3001036.
    Shi et al., Med Image Anal 2021, doi:10.1016/j.media.2021.101979.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medseg.losses.targets import subsample

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
