"""Sums over the voxels that losses are made of, differentiable by the logits.

A loss that is a formula of these few numbers, whatever the formula, costs two passes
over the voxels, those of ``fused.py``: autograd carries the derivatives of the formula
back to the sums, and the second pass from the sums to the logits.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from medseg.losses.fused import (
    Channels,
    Engine,
    FusedLoss,
    first_pass,
    refuse_second_derivative,
    second_pass,
    sum_type,
)
from medseg.losses.regions import RegionSums
from medseg.losses.targets import check_labels, check_shapes
from medseg.losses.terms import Terms


@dataclass(frozen=True)
class VoxelSums:
    """What the terms of a loss add up to over the voxels, in float64."""

    regions: RegionSums
    """Σpt, Σp (or Σp²) and Σt of each sample and channel, each (N, L)."""
    voxel: Tensor
    """The voxel term, weighted by class, over all voxels; a scalar."""
    channel: Tensor
    """The channel term, weighted by channel, over all voxels; a scalar."""
    voxel_weight: Tensor
    """The weights of the voxels' classes; a scalar."""
    num_valid: Tensor
    """Voxels that are not to be ignored; a scalar."""


def voxel_sums(
    logits: Tensor,
    labels: Tensor,
    *,
    channels: Channels,
    terms: Terms,
    engine: Engine = "auto",
) -> VoxelSums:
    """The sums, from which gradients flow back to the logits.

    The weights of the terms as a whole are left to the formula; those of classes and
    channels are in the sums. Only whether probabilities are squared is read of the
    region term.

    Args:
        logits: Shape (N, L, *spatial), any floating type.
        labels: Class indices of shape (N, *spatial), any integer type; 255 is left out.
        channels: What the channels of the logits stand for.
        terms: Which sums.
        engine: Who does the passes over the voxels.

    Raises:
        LabelError: Shapes do not match, or the labels hold other indices.
    """
    check_shapes(logits, labels, num_channels=channels.num_channels)
    loss = _passes(channels, terms, engine, logits.device)
    with torch.autocast(logits.device.type, enabled=False):
        regions, reference, overall, counts = _Sums.apply(  # type: ignore[no-untyped-call]
            loss, labels, logits
        )
    inside, predicted = regions
    (voxel, channel), (voxel_weight, num_valid) = overall, counts
    region_sums = RegionSums(inside, predicted, reference)
    return VoxelSums(region_sums, voxel, channel, voxel_weight, num_valid)


@lru_cache(maxsize=64)
def _passes(
    channels: Channels, terms: Terms, engine: Engine, device: torch.device
) -> FusedLoss:
    """The tables of a loss on a device, kept from one step to the next."""
    return FusedLoss(channels, terms, engine=engine).to(device)


class _Sums(torch.autograd.Function):
    """(Σpt, Σp), Σt, the terms' sums (voxel, channel), and weights and voxels."""

    @staticmethod
    def forward(ctx: Any, loss: FusedLoss, labels: Tensor, logits: Tensor) -> Any:
        ctx.loss = loss
        ctx.save_for_backward(labels, logits)
        ctx.triton = loss.takes_triton([logits])
        if ctx.triton:
            per_channel, overall, counts = _triton_sums(loss, labels, logits)
        else:
            check_labels(labels, num_classes=loss.channels.num_classes)
            per_channel, others = first_pass(loss, logits, labels)
            overall, counts = others[:2], others[2:4]
        regions, reference = per_channel[:2], per_channel[2]
        ctx.mark_non_differentiable(reference, counts)
        return regions, reference, overall, counts

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivative()
        labels, logits = ctx.saved_tensors
        loss: FusedLoss = ctx.loss
        by_region, _, by_term, _ = grads
        tables = loss.tables(logits)
        derivatives = torch.empty(
            (len(logits), 4, logits.shape[1]),
            dtype=sum_type(logits.device),
            device=logits.device,
        )
        derivatives[:, 0] = by_term[0] * tables.voxel
        derivatives[:, 1] = by_term[1] * tables.channel
        derivatives[:, 2:] = by_region.transpose(0, 1)
        if ctx.triton:
            return None, None, _triton_gradient(loss, labels, logits, derivatives)
        return None, None, second_pass(loss, logits, labels, derivatives)


def _triton_sums(
    loss: FusedLoss, labels: Tensor, logits: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Sums (3, N, L), of the terms (2,), and weights and voxels (2,)."""
    from medseg.losses.triton_sweeps import rows_of_sums

    tables = loss.tables(logits)
    rows = rows_of_sums(
        loss.terms, tables, logits, labels, num_classes=loss.channels.num_classes
    )
    inside, predicted, reference, voxel, channel, other = rows.unbind(1)
    num_channels = logits.shape[1]
    per_channel = torch.stack([inside, predicted, reference])[..., :num_channels]
    by_class = tables.voxel.to(rows)
    overall = [
        (voxel[:, :num_channels] * by_class).sum(),
        (channel[:, :num_channels] * tables.channel.to(rows)).sum(),
    ]
    counts = [(reference[:, :num_channels] * by_class).sum(), other[:, 0].sum()]
    return per_channel, torch.stack(overall), torch.stack(counts)


def _triton_gradient(
    loss: FusedLoss, labels: Tensor, logits: Tensor, derivatives: Tensor
) -> Tensor:
    from medseg.losses.triton_sweeps import gradients, padded_derivatives

    tables = loss.tables(logits)
    table = padded_derivatives(derivatives)
    upstream = table.new_ones(())
    return gradients(loss.terms, tables, [logits], labels, table, upstream)[0]
