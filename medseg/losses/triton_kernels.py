"""The two passes over the voxels as Triton kernels, each for all outputs at once.

The formulas are those of ``sweeps.py``; the tests hold both to the same reference. A
program holds all channels of a block of voxels in registers, so that logits are read
once in each pass, in the type that they have. What differs between the outputs of the
network comes in tuples, of which a program picks its own. Sums are added up in a fixed
order: each program writes its own, and the next kernel adds them, so that the same
input gives the same loss to the bit.

Names are as in ``triton_voxels.py``.
"""

import triton
import triton.language as tl

from medseg.losses.triton_voxels import (
    IGNORED,
    channel_focal,
    channel_focal_slope,
    focal,
    focal_slope,
    labels_at,
    log_truth,
    logits_at,
    members,
    pick,
    probabilities,
)

INSIDE = tl.constexpr(0)
PREDICTED = tl.constexpr(1)
REFERENCE = tl.constexpr(2)
VOXEL = tl.constexpr(3)
CHANNEL = tl.constexpr(4)
OTHER = tl.constexpr(5)
ROWS = tl.constexpr(6)
"""Rows of sums, a number per channel each: Σpt, Σp (or Σp²), Σt, the voxel term by its
true class, the channel term, and: voxels that count, and voxels of unknown labels."""


@triton.jit
def sums_kernel(
    logits_ptrs,
    target_ptr,
    membership_ptr,
    partial_ptr,
    L,
    num_classes,
    num_parts,
    V,
    sn,
    sc,
    sv,
    D1,
    D2,
    D3,
    T1,
    T2,
    T3,
    tn,
    t1,
    t2,
    t3,
    SIGMOID: tl.constexpr,
    SQUARED: tl.constexpr,
    HAS_VOXEL: tl.constexpr,
    VOXEL_GAMMA: tl.constexpr,
    HAS_CHANNEL: tl.constexpr,
    CHANNEL_GAMMA: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_V: tl.constexpr,
):
    """First pass: the sums over every `num_parts`-th block of voxels of a sample."""
    part = tl.program_id(0)
    n = tl.program_id(1).to(tl.int64)
    output = tl.program_id(2)
    logits_ptr, num_voxels = pick(output, logits_ptrs), pick(output, V)
    d1, d2, d3 = pick(output, D1), pick(output, D2), pick(output, D3)
    to_n, to_c, to_v = pick(output, sn), pick(output, sc), pick(output, sv)
    channel = tl.arange(0, BLOCK_C)
    real = (channel < L)[:, None]
    inside = tl.zeros([BLOCK_C], tl.float32)
    predicted = tl.zeros([BLOCK_C], tl.float32)
    reference = tl.zeros([BLOCK_C], tl.float32)
    by_voxel = tl.zeros([BLOCK_C], tl.float32)
    by_channel = tl.zeros([BLOCK_C], tl.float32)
    num_valid = tl.zeros([1], tl.float32)
    num_unknown = tl.zeros([1], tl.float32)
    alarm = tl.zeros([1], tl.float32)
    for start in range(part * BLOCK_V, num_voxels, num_parts * BLOCK_V):
        voxel = start + tl.arange(0, BLOCK_V)
        there = voxel < num_voxels
        label = labels_at(
            target_ptr, voxel, there, n, d1, d2, d3, T1, T2, T3, tn, t1, t2, t3
        )
        z = logits_at(logits_ptr, voxel, there, n, channel, real, to_n, to_c, to_v)
        counted = tl.where(there & (label != IGNORED), 1.0, 0.0)
        known = (label >= 0) & (label < num_classes) | (label == IGNORED)
        num_unknown += tl.sum(tl.where(known, 0.0, 1.0), 0)
        num_valid += tl.sum(counted, 0)
        # NaN where a logit is NaN or +infinity, which a sigmoid would hide
        alarm += tl.sum(tl.sum(tl.where(z == float("-inf"), 0.0, z * 0.0), 0), 0)
        p, highest, log_total = probabilities(z, channel, L, SIGMOID)
        p = tl.where(real, p, 0.0) * counted[None, :]
        member = members(membership_ptr, label, channel, L, SIGMOID)
        member = member & (counted > 0)[None, :]
        inside += tl.sum(tl.where(member, p, 0.0), 1)
        reference += tl.sum(tl.where(member, 1.0, 0.0), 1)
        predicted += tl.sum(p * p if SQUARED else p, 1)
        if HAS_VOXEL:
            loss = focal(log_truth(z, member, highest, log_total), VOXEL_GAMMA)
            by_voxel += tl.sum(tl.where(member, loss[None, :], 0.0), 1)
        if HAS_CHANNEL:
            loss = channel_focal(z, member, CHANNEL_GAMMA) * counted[None, :]
            by_channel += tl.sum(tl.where(real, loss, 0.0), 1)
    row = (output * tl.num_programs(1) + n) * num_parts + part
    out = partial_ptr + row * ROWS * BLOCK_C + channel
    tl.store(out + INSIDE * BLOCK_C, inside)
    tl.store(out + PREDICTED * BLOCK_C, predicted + tl.sum(alarm, 0))
    tl.store(out + REFERENCE * BLOCK_C, reference)
    tl.store(out + VOXEL * BLOCK_C, by_voxel)
    tl.store(out + CHANNEL * BLOCK_C, by_channel)
    other = tl.where(channel == 0, tl.sum(num_valid, 0), tl.sum(num_unknown, 0))
    tl.store(out + OTHER * BLOCK_C, other)


@triton.jit
def add_up_kernel(partial_ptr, sums_ptr, num_parts, BLOCK_C: tl.constexpr):
    """Adds up, in float64 and in order, the sums of the parts of a sample."""
    n = tl.program_id(0).to(tl.int64)
    row = tl.program_id(1)
    channel = tl.arange(0, BLOCK_C)
    total = tl.zeros([BLOCK_C], tl.float64)
    for part in range(num_parts):
        at = ((n * num_parts + part) * ROWS + row) * BLOCK_C + channel
        total += tl.load(partial_ptr + at).to(tl.float64)
    tl.store(sums_ptr + (n * ROWS + row) * BLOCK_C + channel, total)


@triton.jit
def gradient_kernel(
    logits_ptrs,
    target_ptr,
    membership_ptr,
    derivatives_ptr,
    upstream_ptr,
    out_ptrs,
    L,
    first_block,
    V,
    sn,
    sc,
    sv,
    D1,
    D2,
    D3,
    on,
    oc,
    ov,
    T1,
    T2,
    T3,
    tn,
    t1,
    t2,
    t3,
    SIGMOID: tl.constexpr,
    SQUARED: tl.constexpr,
    HAS_VOXEL: tl.constexpr,
    VOXEL_GAMMA: tl.constexpr,
    HAS_CHANNEL: tl.constexpr,
    CHANNEL_GAMMA: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_V: tl.constexpr,
):
    """Second pass: the gradient of a block of voxels.

    Blocks of all outputs are counted through; `first_block` is each output's first.
    """
    block = tl.program_id(0)
    n = tl.program_id(1).to(tl.int64)
    output = 0
    for k in tl.static_range(1, len(first_block)):
        output = tl.where(block >= first_block[k], k, output)
    block -= pick(output, first_block)
    d1, d2, d3 = pick(output, D1), pick(output, D2), pick(output, D3)
    to_n, to_c, to_v = pick(output, sn), pick(output, sc), pick(output, sv)
    voxel = block * BLOCK_V + tl.arange(0, BLOCK_V)
    there = voxel < pick(output, V)
    channel = tl.arange(0, BLOCK_C)
    real = (channel < L)[:, None]
    label = labels_at(
        target_ptr, voxel, there, n, d1, d2, d3, T1, T2, T3, tn, t1, t2, t3
    )
    logits_ptr = pick(output, logits_ptrs)
    z = logits_at(logits_ptr, voxel, there, n, channel, real, to_n, to_c, to_v)
    counted = tl.where(there & (label != IGNORED), 1.0, 0.0)
    p, highest, log_total = probabilities(z, channel, L, SIGMOID)
    p = tl.where(real, p, 0.0) * counted[None, :]
    member = members(membership_ptr, label, channel, L, SIGMOID)
    member = member & (counted > 0)[None, :]
    row = output * tl.num_programs(1) + n
    table = derivatives_ptr + row * 4 * BLOCK_C + channel
    upstream = tl.load(upstream_ptr)
    a = upstream * tl.load(table + 2 * BLOCK_C)
    b = upstream * tl.load(table + 3 * BLOCK_C)
    push = b[:, None] + tl.zeros_like(p)
    if SQUARED:
        push = 2.0 * push * p
    if SIGMOID:
        out = p * (1.0 - p) * (tl.where(member, a[:, None], 0.0) + push)
    else:
        pull = tl.sum(tl.where(member, a[:, None] * p, 0.0), 0)
        if HAS_VOXEL:
            own = focal_slope(log_truth(z, member, highest, log_total), VOXEL_GAMMA)
            weight = upstream * tl.load(table)
            pull += own * tl.sum(tl.where(member, weight[:, None], 0.0), 0)
        pull = pull * counted
        mean = tl.sum(push * p, 0) + pull
        out = p * (push - mean[None, :]) + tl.where(member, pull[None, :], 0.0)
    if HAS_CHANNEL:
        slope = channel_focal_slope(z, member, CHANNEL_GAMMA)
        slope = slope * (upstream * tl.load(table + BLOCK_C))[:, None]
        out += tl.where(member, -slope, slope) * counted[None, :]
    out_ptr = pick(output, out_ptrs)
    c, v = channel.to(tl.int64)[:, None], voxel.to(tl.int64)[None, :]
    at = n * pick(output, on) + c * pick(output, oc) + v * pick(output, ov)
    mask = real & there[None, :]
    tl.store(out_ptr + at, out.to(out_ptr.dtype.element_ty), mask=mask)
