"""What lies between the two passes over the voxels, as a Triton kernel.

From the sums of an output follow its loss and the derivatives of the loss by the sums,
by the formulas of ``regions.py``. All numbers are per channel, in float64.
"""

import triton
import triton.language as tl

from medseg.losses.triton_kernels import (
    CHANNEL,
    INSIDE,
    OTHER,
    PREDICTED,
    REFERENCE,
    ROWS,
    VOXEL,
)
from medseg.losses.triton_voxels import pick

LEAST = tl.constexpr(1e-12)
"""A Tversky loss below this has no slope by its exponent."""


@triton.jit
def _row(sums_ptr, n, ROW: tl.constexpr, channel, counted, BLOCK_C: tl.constexpr):
    """A row of sums of a sample, 0 where a channel does not count."""
    at = sums_ptr + (n * ROWS + ROW) * BLOCK_C + channel
    return tl.load(at, mask=counted, other=0.0)


@triton.jit
def _of_all(sums_ptr, N, ROW: tl.constexpr, channel, counted, BLOCK_C: tl.constexpr):
    """A row of sums of all samples together."""
    total = tl.zeros([BLOCK_C], tl.float64)
    for n in range(N):
        total += _row(sums_ptr, n, ROW, channel, counted, BLOCK_C)
    return total


@triton.jit
def _of_group(
    sums_ptr,
    group,
    N,
    ROW: tl.constexpr,
    channel,
    counted,
    BATCH: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """A row of one sample, or that of all samples together."""
    if BATCH:
        return _of_all(sums_ptr, N, ROW, channel, counted, BLOCK_C)
    else:
        return _row(sums_ptr, group, ROW, channel, counted, BLOCK_C)


@triton.jit
def _weights(weights_ptr, channel, counted):
    """Weights of the channels, 0 where one does not count."""
    return tl.load(weights_ptr + channel, mask=counted, other=0.0).to(tl.float64)


@triton.jit
def _voxel_derivatives(
    sums_ptr, N, weights, valid, L, share, channel, MEAN: tl.constexpr, BLOCK_C
):
    """Derivative by a voxel's own loss, by its true class.

    The mean is over the voxels' weights (MEAN), or over voxels and channels.
    """
    if MEAN:
        reference = _of_all(sums_ptr, N, REFERENCE, channel, channel < L, BLOCK_C)
        total = tl.sum(weights * reference, 0)
    else:
        total = valid * L
    scale = tl.where(total > 0, share / tl.where(total > 0, total, 1.0), 0.0)
    return scale * weights


@triton.jit
def _num_losses(
    sums_ptr,
    N,
    channel,
    counted,
    BATCH: tl.constexpr,
    SKIP_EMPTY: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """How many losses of a region term are averaged, 1 at least."""
    number = tl.zeros([BLOCK_C], tl.float64)
    for group in range(1 if BATCH else N):
        t = _of_group(sums_ptr, group, N, REFERENCE, channel, counted, BATCH, BLOCK_C)
        number += tl.where(counted & (t > 0) if SKIP_EMPTY else counted, 1.0, 0.0)
    return tl.maximum(tl.sum(number, 0), 1.0)


@triton.jit
def _tversky(
    i,
    p,
    t,
    share,
    counted,
    SKIP_EMPTY: tl.constexpr,
    ALPHA: tl.constexpr,
    BETA: tl.constexpr,
    EXPONENT: tl.constexpr,
    SMOOTH_NR: tl.constexpr,
    SMOOTH_DR: tl.constexpr,
):
    """Losses of the channels of a group, and their derivatives by Σpt and Σp."""
    present = counted & (t > 0) if SKIP_EMPTY else counted
    share = tl.where(present, share, 0.0 * p)  # NaN passes where a class is left out
    below = i + ALPHA * (p - i) + BETA * (t - i) + SMOOTH_DR
    below = tl.where(present, below, 1.0)
    ratio = (i + SMOOTH_NR) / below
    loss = 1.0 - ratio
    steep = tl.zeros_like(loss) + 1.0
    if EXPONENT != 1.0:
        least = tl.maximum(loss, LEAST)
        power = tl.exp(EXPONENT * tl.log(least))
        steep = tl.where(loss >= LEAST, EXPONENT, 0.0) * power / least
        steep = tl.where(loss == loss, steep, loss)
        loss = tl.where(loss == loss, power, loss)
    by_inside = share * steep * (ratio * (1.0 - ALPHA - BETA) - 1.0) / below
    by_predicted = share * steep * ratio * ALPHA / below
    return tl.where(counted, share * loss, 0.0), by_inside, by_predicted


@triton.jit
def _generalized_dice(
    i,
    p,
    t,
    share,
    channel,
    counted,
    VOLUME_POWER: tl.constexpr,
    SMOOTH_NR: tl.constexpr,
    SMOOTH_DR: tl.constexpr,
):
    """The loss of a group, at channel 0, and its derivatives by Σpt and Σp."""
    weight = tl.where(counted, 1.0, 0.0).to(tl.float64)
    if VOLUME_POWER != 0:
        full = tl.maximum(t, 1.0)
        weight = 1.0 / (full * full if VOLUME_POWER == 2 else full)
        weight = tl.where(counted & (t > 0), weight, 0.0)
        weight = tl.where(t > 0, weight, tl.max(weight, 0))
        weight = tl.where(counted, weight, 0.0)
    top = 2.0 * tl.sum(weight * i, 0) + SMOOTH_NR
    below = tl.sum(weight * (p + t), 0) + SMOOTH_DR
    value = tl.where(channel == 0, share * (1.0 - top / below), 0.0)
    return value, -2.0 * share * weight / below, share * weight * top / (below * below)


@triton.jit
def derivatives_kernel(
    sums_ptr,
    voxel_weights_ptr,
    channel_weights_ptr,
    region_weights_ptr,
    derivatives_ptr,
    values_ptr,
    known_ptr,
    N,
    L,
    WEIGHTS: tl.constexpr,
    REGION: tl.constexpr,
    REGION_WEIGHT: tl.constexpr,
    FIRST: tl.constexpr,
    BATCH: tl.constexpr,
    SKIP_EMPTY: tl.constexpr,
    ALPHA: tl.constexpr,
    BETA: tl.constexpr,
    EXPONENT: tl.constexpr,
    VOLUME_POWER: tl.constexpr,
    SMOOTH_NR: tl.constexpr,
    SMOOTH_DR: tl.constexpr,
    VOXEL_WEIGHT: tl.constexpr,
    WEIGHTED_MEAN: tl.constexpr,
    CHANNEL_WEIGHT: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """The loss of one output of the network, and its derivatives by the sums.

    REGION is 0 for none, 1 for a Tversky loss, 2 for generalised Dice.
    """
    output = tl.program_id(0)
    factor = (tl.zeros([1], tl.float64) + pick(output, WEIGHTS)).sum()
    sums_ptr += output.to(tl.int64) * N * ROWS * BLOCK_C
    derivatives_ptr += output.to(tl.int64) * N * 4 * BLOCK_C
    channel = tl.arange(0, BLOCK_C)
    real = channel < L
    counted = real & (channel >= FIRST)
    valid = tl.sum(_of_all(sums_ptr, N, OTHER, channel, channel == 0, BLOCK_C), 0)
    unknown = tl.sum(_of_all(sums_ptr, N, OTHER, channel, channel == 1, BLOCK_C), 0)
    tl.store(known_ptr + output, unknown == 0)

    # NaN where a logit was none, whether or not anything looks at predictions
    value = 0.0 * _of_all(sums_ptr, N, PREDICTED, channel, real, BLOCK_C)
    voxel_derivatives = _voxel_derivatives(
        sums_ptr,
        N,
        _weights(voxel_weights_ptr, channel, real),
        valid,
        L,
        factor * VOXEL_WEIGHT,
        channel,
        WEIGHTED_MEAN,
        BLOCK_C,
    )
    channel_weights = _weights(channel_weights_ptr, channel, real)
    channel_derivatives = (
        factor * CHANNEL_WEIGHT / tl.maximum(valid, 1.0) * channel_weights
    )
    if VOXEL_WEIGHT != 0.0:
        value += voxel_derivatives * _of_all(sums_ptr, N, VOXEL, channel, real, BLOCK_C)
    if CHANNEL_WEIGHT != 0.0:
        value += channel_derivatives * _of_all(
            sums_ptr, N, CHANNEL, channel, real, BLOCK_C
        )

    num_groups = 1 if BATCH else N
    share = factor * REGION_WEIGHT
    region_weights = _weights(region_weights_ptr, channel, counted)
    number = _num_losses(sums_ptr, N, channel, counted, BATCH, SKIP_EMPTY, BLOCK_C)
    for group in range(num_groups):
        by_inside = tl.zeros([BLOCK_C], tl.float64)
        by_predicted = tl.zeros([BLOCK_C], tl.float64)
        if REGION != 0:
            i = _of_group(sums_ptr, group, N, INSIDE, channel, counted, BATCH, BLOCK_C)
            p = _of_group(
                sums_ptr, group, N, PREDICTED, channel, counted, BATCH, BLOCK_C
            )
            t = _of_group(
                sums_ptr, group, N, REFERENCE, channel, counted, BATCH, BLOCK_C
            )
            if REGION == 1:
                own, by_inside, by_predicted = _tversky(
                    i,
                    p,
                    t,
                    share * region_weights / number,
                    counted,
                    SKIP_EMPTY,
                    ALPHA,
                    BETA,
                    EXPONENT,
                    SMOOTH_NR,
                    SMOOTH_DR,
                )
            else:
                own, by_inside, by_predicted = _generalized_dice(
                    i,
                    p,
                    t,
                    share / num_groups,
                    channel,
                    counted,
                    VOLUME_POWER,
                    SMOOTH_NR,
                    SMOOTH_DR,
                )
            value += own
        for n in range(N if BATCH else 1):
            at = derivatives_ptr + (n if BATCH else group) * 4 * BLOCK_C + channel
            tl.store(at, voxel_derivatives.to(tl.float32))
            tl.store(at + BLOCK_C, channel_derivatives.to(tl.float32))
            tl.store(at + 2 * BLOCK_C, by_inside.to(tl.float32))
            tl.store(at + 3 * BLOCK_C, by_predicted.to(tl.float32))
    tl.store(values_ptr + output, tl.sum(value, 0))
