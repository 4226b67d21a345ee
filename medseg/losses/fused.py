"""Losses computed in two passes over the voxels, with the gradient in closed form.

One autograd function serves all outputs of a deeply supervised network: a first pass
finds sums over the voxels, from which the loss and its derivatives by those sums
follow; a second one, in the backward pass, writes the gradients. Of the size of the
logits nothing is kept in between but the logits themselves.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from medseg.errors import SettingsError
from medseg.labels import IGNORE_INDEX
from medseg.losses.regions import RegionSums, partial_derivatives
from medseg.losses.streaming import Chunk, empty_gradient, has_triton, stream
from medseg.losses.sweeps import Derivatives, Sums, Tables, gradient, sums
from medseg.losses.targets import check_labels, check_shapes, subsample
from medseg.losses.terms import Terms

Engine = Literal["auto", "chunks", "whole", "triton"]
"""Who does the passes: PyTorch's operations on chunks of voxels that stay in the cache
of a core, the same on whole outputs, or Triton's kernels. ``auto``: chunks on a CPU,
Triton where it is installed and takes the logits, else whole outputs."""

TRITON_TYPES = (torch.float32, torch.float16, torch.bfloat16)
TRITON_CHANNELS = 256
"""Most channels that the kernels take: all of a voxel's are in registers."""


@dataclass(frozen=True)
class Channels:
    """What the channels of the logits stand for."""

    num_classes: int
    """Classes that the label map may hold, with the background."""
    regions: tuple[tuple[int, ...], ...] = ()
    """Classes of each overlapping region; empty for one channel per class."""

    def __post_init__(self) -> None:
        """Refuses what cannot be.

        Raises:
            SettingsError: There is no structure, or a region of unknown classes.
        """
        if self.num_classes < 2:
            raise SettingsError(
                f"num_classes is {self.num_classes}, expected the background and at "
                "least one structure"
            )
        for classes in self.regions:
            if not classes or not set(classes) <= set(range(self.num_classes)):
                raise SettingsError(
                    f"region {classes} is not a set of classes from 0 to "
                    f"{self.num_classes - 1}"
                )

    @property
    def num_channels(self) -> int:
        """Channels of the logits."""
        return len(self.regions) or self.num_classes

    def first_class(self, include_background: bool) -> int:  # noqa: FBT001
        """The first channel that a region loss counts."""
        return 0 if self.regions or include_background else 1


class FusedLoss(nn.Module):
    """A sum of a region term, a voxel term and a channel term."""

    voxel_weights: Tensor
    channel_weights: Tensor
    region_weights: Tensor
    membership: Tensor

    def __init__(
        self, channels: Channels, terms: Terms, *, engine: Engine = "auto"
    ) -> None:
        """Prepares the weights of classes and channels.

        Args:
            channels: What the channels of the logits stand for.
            terms: The loss.
            engine: Who does the passes over the voxels.
        """
        super().__init__()
        self.channels = channels
        self.terms = terms
        self.engine = engine
        number = channels.num_channels
        region = terms.region.loss.class_weights if terms.region else None
        tables = {
            "voxel_weights": _weights(
                terms.voxel.class_weights if terms.voxel else None, number
            ),
            "channel_weights": _channel_weights(terms, number),
            "region_weights": _weights(region, number),
            "membership": _membership(channels.regions),
        }
        for name, table in tables.items():
            self.register_buffer(name, table, persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss, a scalar: float64 for such logits, else float32.

        Args:
            logits: Shape (N, L, *spatial), any floating type.
            target: Class indices of shape (N, *spatial), any integer type; 255 is
                left out. Where all is left out, the voxels' loss is 0.

        Raises:
            LabelError: Shapes do not match, or the target holds other indices.
        """
        check_shapes(logits, target, num_channels=self.channels.num_channels)
        return self.of_outputs([logits], target, (1.0,))

    def of_outputs(
        self, outputs: Sequence[Tensor], target: Tensor, weights: Sequence[float]
    ) -> Tensor:
        """The weighted sum of the loss at several resolutions, a scalar.

        Args:
            outputs: Logits of shape (N, L, *spatial), full resolution first.
            target: Class indices at full resolution, shape (N, *spatial).
            weights: A factor for each output.

        Raises:
            LabelError: Shapes do not match, or the target holds other indices.
        """
        for logits in outputs:
            shape = (len(target), *logits.shape[2:])
            expected = torch.empty(shape, dtype=target.dtype, device="meta")
            check_shapes(logits, expected, num_channels=self.channels.num_channels)
        function = _Triton if self.takes_triton(outputs) else _Plain
        with torch.autocast(outputs[0].device.type, enabled=False):
            value: Tensor = function.apply(  # type: ignore[no-untyped-call]
                self, target, tuple(weights), *outputs
            )
        return value

    def takes_triton(self, outputs: Sequence[Tensor]) -> bool:
        """Whether Triton's kernels do the passes over such logits."""
        if self.engine != "auto":
            return self.engine == "triton"
        return (
            outputs[0].device.type == "cuda"
            and outputs[0].dtype in TRITON_TYPES
            and all(logits.dtype == outputs[0].dtype for logits in outputs)
            and self.channels.num_channels <= TRITON_CHANNELS
            and has_triton()
        )

    def tables(self, like: Tensor) -> Tables:
        """The tables on the device of the logits."""
        tables = (self.voxel_weights, self.channel_weights, self.region_weights)
        return Tables(*(table.to(like.device) for table in (*tables, self.membership)))


class _Plain(torch.autograd.Function):
    """The two passes by PyTorch's operations, as autograd knows them."""

    @staticmethod
    def forward(
        ctx: Any,
        loss: FusedLoss,
        target: Tensor,
        weights: tuple[float, ...],
        *outputs: Tensor,
    ) -> Tensor:
        check_labels(target, num_classes=loss.channels.num_classes)
        found = [first_pass(loss, logits, target) for logits in outputs]
        per_channel, overall = (
            torch.stack(column) for column in zip(*found, strict=True)
        )
        value, ctx.derivatives = _combine(loss, per_channel, overall, weights)
        ctx.save_for_backward(target, *outputs)
        ctx.loss = loss
        return value.to(torch.promote_types(outputs[0].dtype, torch.float32))

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivative()
        target, *outputs = ctx.saved_tensors
        loss: FusedLoss = ctx.loss
        scaled = ctx.derivatives * grad_outputs[0]
        results = [
            second_pass(loss, logits, target, derivatives)
            for logits, derivatives in zip(outputs, scaled, strict=True)
        ]
        return None, None, None, *results


class _Triton(torch.autograd.Function):
    """The two passes by Triton's kernels, as autograd knows them."""

    @staticmethod
    def forward(
        ctx: Any,
        loss: FusedLoss,
        target: Tensor,
        weights: tuple[float, ...],
        *outputs: Tensor,
    ) -> Tensor:
        from medseg.losses.triton_sweeps import loss_and_derivatives

        value, ctx.derivatives = loss_and_derivatives(
            loss.terms,
            loss.tables(outputs[0]),
            outputs,
            target,
            num_classes=loss.channels.num_classes,
            weights=weights,
        )
        ctx.save_for_backward(target, *outputs)
        ctx.loss = loss
        return value

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        from medseg.losses.triton_sweeps import gradients

        refuse_second_derivative()
        target, *outputs = ctx.saved_tensors
        loss: FusedLoss = ctx.loss
        tables = loss.tables(outputs[0])
        results = gradients(
            loss.terms, tables, outputs, target, ctx.derivatives, grad_outputs[0]
        )
        return None, None, None, *results


def refuse_second_derivative() -> None:
    """Called in a backward pass, raises if that pass itself is to be differentiated.

    Raises:
        RuntimeError: Backward runs with ``create_graph=True``.
    """
    if torch.is_grad_enabled():
        raise RuntimeError(
            "this loss has a closed-form gradient that cannot be differentiated again; "
            "call backward without create_graph=True, or use a loss of PyTorch or MONAI"
        )


def first_pass(
    loss: FusedLoss, logits: Tensor, target: Tensor
) -> tuple[Tensor, Tensor]:
    """Sums (3, N, L) and overall sums (5,) of one output, as in `Sums`."""
    flat = logits.flatten(2)
    labels = subsample(target, tuple(logits.shape[2:])).flatten(1)
    tables = loss.tables(flat)

    def work(chunk: Chunk) -> Sums:
        n, v = chunk.samples, chunk.voxels
        return sums(flat[n, :, v], labels[n, v], loss.terms, tables)

    parts = stream(flat, work, whole=loss.engine == "whole")
    exact = sum_type(flat.device)
    per_channel = torch.stack([part.per_channel for part in parts]).to(exact)
    groups = len(flat) // per_channel.shape[2]
    per_channel = per_channel.reshape(groups, -1, *per_channel.shape[1:]).sum(1)
    overall = torch.stack([part.overall for part in parts]).to(exact).sum(0)
    return per_channel.transpose(0, 1).flatten(1, 2), overall


def second_pass(
    loss: FusedLoss, logits: Tensor, target: Tensor, derivatives: Tensor
) -> Tensor:
    """The gradient of one output, given derivatives (N, 4, L) as in `Derivatives`."""
    flat = logits.flatten(2)
    labels = subsample(target, tuple(logits.shape[2:])).flatten(1)
    tables, out = loss.tables(flat), empty_gradient(flat)

    def work(chunk: Chunk) -> None:
        n, v = chunk.samples, chunk.voxels
        here = Derivatives(*derivatives[n].unbind(1))
        out[n, :, v] = gradient(flat[n, :, v], labels[n, v], loss.terms, tables, here)

    stream(flat, work, whole=loss.engine == "whole")
    return out.view(logits.shape)


def _combine(
    loss: FusedLoss, per_channel: Tensor, overall: Tensor, weights: tuple[float, ...]
) -> tuple[Tensor, Tensor]:
    """The loss, and its derivatives as in `Derivatives`, of shape (outputs, N, 4, L).

    Args:
        loss: The loss.
        per_channel: Of each output, shape (outputs, 3, N, L).
        overall: Of each output, shape (outputs, 5).
        weights: Of each output.
    """
    terms = loss.terms
    factor = torch.stack([overall.new_full((), weight) for weight in weights])
    voxel, channel, voxel_weight, num_valid, alarm = overall.unbind(1)
    inside, predicted, reference = per_channel.unbind(1)
    derivatives = torch.zeros_like(inside)[:, :, None].repeat(1, 1, 4, 1)
    value = (factor * alarm).sum()
    if terms.region is not None:
        region, share = terms.region, factor * terms.region.weight
        table = None
        if region.loss.class_weights is not None:
            table = loss.region_weights.to(inside)
        part, derivatives[:, :, 2], derivatives[:, :, 3] = partial_derivatives(
            lambda s: share * region.loss(s, table),
            RegionSums(inside, predicted, reference),
        )
        value = value + part
    if terms.voxel is not None:
        total = voxel_weight
        if not terms.voxel.weighted_mean:
            total = num_valid * loss.channels.num_channels
        scale = torch.where(total > 0, factor * terms.voxel.weight / total, 0)
        value = value + (scale * voxel).sum()
        derivatives[:, :, 0] = scale[:, None, None] * loss.voxel_weights.to(scale)
    if terms.channel is not None:
        mean = terms.channel.weight / (
            loss.channels.num_channels - terms.channel.first_class
        )
        scale = factor * mean / num_valid.clamp_min(1)
        value = value + (scale * channel).sum()
        derivatives[:, :, 1] = scale[:, None, None] * loss.channel_weights.to(scale)
    return value, derivatives


def sum_type(device: torch.device) -> torch.dtype:
    """In which sums are added up: float64, which Apple's GPUs do not have."""
    return torch.float32 if device.type == "mps" else torch.float64


def _weights(weights: tuple[float, ...] | None, number: int) -> Tensor:
    return torch.ones(number) if weights is None else torch.tensor(weights)


def _channel_weights(terms: Terms, number: int) -> Tensor:
    """Weight of each channel's own loss, 0 where it is left out, shape (L,)."""
    if terms.channel is None:
        return torch.zeros(number)
    weights = _weights(terms.channel.class_weights, number)
    weights[: terms.channel.first_class] = 0
    return weights


def _membership(regions: tuple[tuple[int, ...], ...]) -> Tensor:
    """1 where a region holds a label, shape (R, 256)."""
    table = torch.zeros(len(regions), IGNORE_INDEX + 1)
    for row, classes in zip(table, regions, strict=True):
        row[list(classes)] = 1
    return table
