"""The loss by Triton's kernels: four launches for all samples and outputs.

Three operators of PyTorch's, so that they can also be traced on tensors without values:
sums over the voxels (two launches), the loss with its derivatives by the sums (one),
and the gradients (one).
"""

import itertools
from collections.abc import Sequence
from typing import Any

import torch
import triton
from torch import Tensor

from medseg.losses.regions import GeneralizedDiceLoss, TverskyLoss
from medseg.losses.streaming import declare_launches
from medseg.losses.sweeps import Tables
from medseg.losses.terms import Terms
from medseg.losses.triton_derivatives import derivatives_kernel
from medseg.losses.triton_kernels import (
    add_up_kernel,
    gradient_kernel,
    sums_kernel,
)

BLOCK = 4096
"""Logits that a program holds at a time: 32 for each of its 128 threads."""
PROGRAMS = 1024
"""Programs of the first pass: enough for every multiprocessor, few enough that adding
their sums up costs nothing."""
ROWS = 6
"""Rows of sums, as in ``triton_kernels.py``."""
NO_REGION, TVERSKY, GENERALIZED_DICE = range(3)


def loss_and_derivatives(
    terms: Terms,
    tables: Tables,
    outputs: Sequence[Tensor],
    target: Tensor,
    *,
    num_classes: int,
    weights: tuple[float, ...],
) -> tuple[Tensor, Tensor]:
    """The loss, a float32 scalar, and its derivatives by the sums, as in `Derivatives`.

    Args:
        terms: The loss.
        tables: Weights and regions.
        outputs: Logits of shape (N, L, *spatial), float32, float16 or bfloat16.
        target: Class indices at full resolution, shape (N, *spatial); unknown ones are
            a failed assertion of the device.
        num_classes: Classes that the target may hold.
        weights: A factor for each output.
    """
    sums = _sums(
        list(outputs),
        _plain_labels(target),
        tables.membership,
        num_classes,
        *_flags(terms),
    )
    num_channels = outputs[0].shape[1]
    region, numbers = _region_numbers(terms)
    values, derivatives, known = _derivatives(
        sums,
        tables.voxel,
        tables.channel,
        tables.region,
        num_channels,
        list(weights),
        region,
        numbers,
        terms.voxel.weight if terms.voxel else 0.0,
        terms.voxel is None or terms.voxel.weighted_mean,
        _channel_weight(terms, num_channels),
    )
    torch._assert_async(known[0])  # noqa: SLF001 no public name
    return values.sum(dtype=torch.float32), derivatives


def rows_of_sums(
    terms: Terms, tables: Tables, logits: Tensor, target: Tensor, *, num_classes: int
) -> Tensor:
    """The sums over the voxels alone, float64, (N, rows, L); rows as in the kernels.

    Args:
        terms: The loss.
        tables: Weights and regions.
        logits: Shape (N, L, *spatial), float32, float16 or bfloat16.
        target: Class indices, shape (N, *spatial); unknown ones are a failed assertion
            of the device.
        num_classes: Classes that the target may hold.
    """
    labels = _plain_labels(target)
    flags = _flags(terms)
    rows: Tensor = _sums([logits], labels, tables.membership, num_classes, *flags)[0]
    unknown = rows[:, ROWS - 1, 1].sum()
    torch._assert_async(unknown == 0)  # noqa: SLF001 no public name
    return rows


def gradients(
    terms: Terms,
    tables: Tables,
    outputs: Sequence[Tensor],
    target: Tensor,
    derivatives: Tensor,
    upstream: Tensor,
) -> list[Tensor]:
    """The gradient of every output, in its type, times what comes from behind."""
    found: list[Tensor] = _gradients(
        list(outputs),
        _plain_labels(target),
        tables.membership,
        derivatives,
        upstream,
        *_flags(terms),
    )
    return found


def padded_derivatives(derivatives: Tensor) -> Tensor:
    """Derivatives (N, 4, L) as the kernels read those of one output: (1, N, 4, C)."""
    num_samples, kinds, num_channels = derivatives.shape
    block_c, _ = _blocks(num_channels)
    padded = derivatives.new_zeros(
        (1, num_samples, kinds, block_c), dtype=torch.float32
    )
    padded[0, ..., :num_channels] = derivatives
    return padded


def _flags(terms: Terms) -> tuple[bool, bool, float | None, float | None]:
    """What the passes need to know: sigmoid, squared, and the γ of both focal terms."""
    return (
        terms.sigmoid,
        terms.squared,
        terms.voxel.gamma if terms.voxel else None,
        terms.channel.gamma if terms.channel else None,
    )


def _channel_weight(terms: Terms, num_channels: int) -> float:
    """What the channel term's weights are multiplied by in the mean."""
    if terms.channel is None:
        return 0.0
    return terms.channel.weight / (num_channels - terms.channel.first_class)


def _region_numbers(terms: Terms) -> tuple[int, list[float]]:
    """Which region loss, and its numbers in the order of `_derivatives`."""
    if terms.region is None:
        return NO_REGION, [0.0] * 10
    loss, weight = terms.region.loss, terms.region.weight
    common = [weight, loss.first_class, loss.batch, loss.smooth_nr, loss.smooth_dr]
    if isinstance(loss, GeneralizedDiceLoss):
        power = {"uniform": 0, "simple": 1, "square": 2}[loss.volume_weight]
        return GENERALIZED_DICE, [*map(float, common), 0.0, 0.0, 0.0, 1.0, float(power)]
    assert isinstance(loss, TverskyLoss)
    own = [loss.skip_empty, loss.alpha, loss.beta, loss.exponent, 0.0]
    return TVERSKY, [*map(float, common), *map(float, own)]


def _plain_labels(target: Tensor) -> Tensor:
    """Labels of a type that can hold 255."""
    return target.short() if target.dtype in (torch.int8, torch.bool) else target


@torch.library.custom_op("medseg::loss_sums", mutates_args=())
def _sums(
    outputs: list[Tensor],
    target: Tensor,
    membership: Tensor,
    num_classes: int,
    sigmoid: bool,
    squared: bool,
    voxel_gamma: float | None,
    channel_gamma: float | None,
) -> Tensor:
    """Sums over the voxels, float64, (outputs, N, rows, C), C ≥ L a power of 2."""
    num_samples, block_c, block_v = len(target), *_blocks(outputs[0].shape[1])
    largest = max(z[0, 0].numel() for z in outputs)
    num_parts = min(
        triton.cdiv(largest, block_v), max(1, triton.cdiv(PROGRAMS, num_samples))
    )
    partial = torch.empty(
        (len(outputs), num_samples, num_parts, ROWS, block_c),
        dtype=torch.float32,
        device=target.device,
    )
    flat = [z.flatten(2) for z in outputs]
    sums_kernel[num_parts, num_samples, len(outputs)](
        tuple(flat),
        target,
        membership,
        partial,
        outputs[0].shape[1],
        num_classes,
        num_parts,
        *_grids(outputs, flat),
        *_target_grid(target),
        **_constants(sigmoid, squared, voxel_gamma, channel_gamma),
        BLOCK_C=block_c,
        BLOCK_V=block_v,
    )
    sums = partial.new_empty(
        (len(outputs), num_samples, ROWS, block_c), dtype=torch.float64
    )
    add_up_kernel[len(outputs) * num_samples, ROWS](
        partial, sums, num_parts, BLOCK_C=block_c
    )
    return sums


@_sums.register_fake
def _(
    outputs: list[Tensor],
    target: Tensor,
    membership: Tensor,
    num_classes: int,
    sigmoid: bool,
    squared: bool,
    voxel_gamma: float | None,
    channel_gamma: float | None,
) -> Tensor:
    declare_launches("medseg::loss_sums", 2)
    block_c, _ = _blocks(outputs[0].shape[1])
    shape = (len(outputs), len(target), ROWS, block_c)
    return outputs[0].new_empty(shape, dtype=torch.float64)


@torch.library.custom_op("medseg::loss_derivatives", mutates_args=())
def _derivatives(
    sums: Tensor,
    voxel_weights: Tensor,
    channel_weights: Tensor,
    region_weights: Tensor,
    num_channels: int,
    weights: list[float],
    region: int,
    numbers: list[float],
    voxel_weight: float,
    weighted_mean: bool,
    channel_weight: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Losses of outputs, derivatives (outputs, N, 4, C), whether labels are known."""
    num_outputs, num_samples, _, block_c = sums.shape
    values = sums.new_empty(num_outputs)
    derivatives = sums.new_empty(
        (num_outputs, num_samples, 4, block_c), dtype=torch.float32
    )
    known = sums.new_empty(num_outputs, dtype=torch.bool)
    factor, first, batch, smooth_nr, smooth_dr = numbers[:5]
    skip_empty, alpha, beta, exponent, volume_power = numbers[5:]
    derivatives_kernel[(num_outputs,)](
        sums,
        voxel_weights,
        channel_weights,
        region_weights,
        derivatives,
        values,
        known,
        num_samples,
        num_channels,
        WEIGHTS=tuple(weights),
        REGION=region,
        REGION_WEIGHT=factor,
        FIRST=int(first),
        BATCH=bool(batch),
        SKIP_EMPTY=bool(skip_empty),
        ALPHA=alpha,
        BETA=beta,
        EXPONENT=exponent,
        VOLUME_POWER=int(volume_power),
        SMOOTH_NR=smooth_nr,
        SMOOTH_DR=smooth_dr,
        VOXEL_WEIGHT=voxel_weight,
        WEIGHTED_MEAN=weighted_mean,
        CHANNEL_WEIGHT=channel_weight,
        BLOCK_C=block_c,
    )
    return values, derivatives, known


@_derivatives.register_fake
def _(
    sums: Tensor,
    voxel_weights: Tensor,
    channel_weights: Tensor,
    region_weights: Tensor,
    num_channels: int,
    weights: list[float],
    region: int,
    numbers: list[float],
    voxel_weight: float,
    weighted_mean: bool,
    channel_weight: float,
) -> tuple[Tensor, Tensor, Tensor]:
    declare_launches("medseg::loss_derivatives", 1)
    num_outputs, num_samples, _, block_c = sums.shape
    return (
        sums.new_empty(num_outputs),
        sums.new_empty((num_outputs, num_samples, 4, block_c), dtype=torch.float32),
        sums.new_empty(num_outputs, dtype=torch.bool),
    )


@torch.library.custom_op("medseg::loss_gradients", mutates_args=())
def _gradients(
    outputs: list[Tensor],
    target: Tensor,
    membership: Tensor,
    derivatives: Tensor,
    upstream: Tensor,
    sigmoid: bool,
    squared: bool,
    voxel_gamma: float | None,
    channel_gamma: float | None,
) -> list[Tensor]:
    """The gradient of each output, of its shape, strides and type."""
    block_c, block_v = _blocks(outputs[0].shape[1])
    flat, results = [z.flatten(2) for z in outputs], [*map(torch.empty_like, outputs)]
    out = [result.flatten(2) for result in results]
    blocks = [triton.cdiv(z.shape[2], block_v) for z in flat]
    first = [0, *itertools.accumulate(blocks)]
    gradient_kernel[first[-1], len(target)](
        tuple(flat),
        target,
        membership,
        derivatives,
        upstream,
        tuple(out),
        outputs[0].shape[1],
        tuple(first[:-1]),
        *_grids(outputs, flat),
        *_columns([z.stride() for z in out]),
        *_target_grid(target),
        **_constants(sigmoid, squared, voxel_gamma, channel_gamma),
        BLOCK_C=block_c,
        BLOCK_V=block_v,
    )
    return results


@_gradients.register_fake
def _(
    outputs: list[Tensor],
    target: Tensor,
    membership: Tensor,
    derivatives: Tensor,
    upstream: Tensor,
    sigmoid: bool,
    squared: bool,
    voxel_gamma: float | None,
    channel_gamma: float | None,
) -> list[Tensor]:
    declare_launches("medseg::loss_gradients", 1)
    return [torch.empty_like(logits) for logits in outputs]


def _blocks(num_channels: int) -> tuple[int, int]:
    """Channels, all of them, and voxels that a program holds; powers of 2."""
    block_c = max(2, triton.next_power_of_2(num_channels))
    return block_c, max(16, BLOCK // block_c)


def _grids(outputs: Sequence[Tensor], flat: Sequence[Tensor]) -> list[tuple[int, ...]]:
    """Of all outputs each: number of voxels, strides, and sizes along three axes."""
    return _columns(
        [
            (z.shape[2], *z.stride(), *[1] * (5 - grid.ndim), *grid.shape[2:])
            for grid, z in zip(outputs, flat, strict=True)
        ]
    )


def _columns(rows: Sequence[Sequence[int]]) -> list[tuple[int, ...]]:
    return list(zip(*rows, strict=True))


def _target_grid(target: Tensor) -> list[int]:
    """Sizes of the target along three axes, then its strides, the samples' first."""
    missing = 4 - target.ndim
    sizes = [1] * missing + list(target.shape[1:])
    strides = [0] * missing + list(target.stride()[1:])
    return [*sizes, target.stride(0), *strides]


def _constants(
    sigmoid: bool,
    squared: bool,
    voxel_gamma: float | None,
    channel_gamma: float | None,
) -> dict[str, Any]:
    """The flags as the kernels call them."""
    return {
        "SIGMOID": sigmoid,
        "SQUARED": squared,
        "HAS_VOXEL": voxel_gamma is not None,
        "VOXEL_GAMMA": voxel_gamma or 0.0,
        "HAS_CHANNEL": channel_gamma is not None,
        "CHANNEL_GAMMA": channel_gamma or 0.0,
    }
