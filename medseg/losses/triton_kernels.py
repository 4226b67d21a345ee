"""The two passes over the voxels, and what lies between them, as Triton kernels.

The formulas are those of ``sweeps.py`` and ``regions.py``; the tests hold both to the
same reference. A program of the passes holds all channels of a block of voxels in
registers, so that logits are read once in each pass, in the type that they have. Sums
are added up in a fixed order: each program writes its own, and the next kernel adds
them, so that the same input gives the same loss to the bit.

Suffixes: `_ptr` an address, `s` a stride, capitals what is known when compiling.
"""

import triton
import triton.language as tl

INSIDE = tl.constexpr(0)
PREDICTED = tl.constexpr(1)
REFERENCE = tl.constexpr(2)
VOXEL = tl.constexpr(3)
CHANNEL = tl.constexpr(4)
OTHER = tl.constexpr(5)
ROWS = tl.constexpr(6)
"""Rows of sums, a number per channel each: Σpt, Σp (or Σp²), Σt, the voxel term by its
true class, the channel term, and: voxels that count, and voxels of unknown labels."""

TINY = tl.constexpr(1.1754944e-38)
IGNORED = tl.constexpr(255)


@triton.jit
def _sigmoid(x):
    """σ(x), without an exponential that overflows."""
    a = tl.exp(-tl.abs(x))
    return tl.where(x >= 0, 1.0, a) / (1.0 + a)


@triton.jit
def _power(x, EXPONENT: tl.constexpr):
    """Numbers from 0 to 1 to the exponent."""
    if EXPONENT == 0.0:
        return tl.zeros_like(x) + 1.0
    elif EXPONENT == 1.0:
        return x
    elif EXPONENT == 2.0:
        return x * x
    else:
        return tl.exp(EXPONENT * tl.log(tl.maximum(x, TINY)))


@triton.jit
def _labels(
    target_ptr,
    voxel,
    inside,
    to_n,
    D2,
    D3,
    T1,
    T2,
    T3,
    D1,
    s1,
    s2,
    s3,
):
    """Labels at the centres of voxels of an output's grid; see `targets.subsample`."""
    x = voxel // (D2 * D3)
    y = (voxel // D3) % D2
    z = voxel % D3
    x = ((2 * x + 1) * T1) // (2 * D1)
    y = ((2 * y + 1) * T2) // (2 * D2)
    z = ((2 * z + 1) * T3) // (2 * D3)
    where = to_n + x.to(tl.int64) * s1 + y.to(tl.int64) * s2 + z.to(tl.int64) * s3
    return tl.load(target_ptr + where, mask=inside, other=IGNORED).to(tl.int32)


@triton.jit
def _probabilities(logits, channel, L, SIGMOID: tl.constexpr):
    """Probabilities (C, V), and the largest logit and log Σ exp of each voxel, (V,)."""
    if SIGMOID:
        return _sigmoid(logits), tl.zeros_like(tl.max(logits, 0)), tl.max(logits, 0)
    else:
        logits = tl.where((channel < L)[:, None], logits, float("-inf"))
        highest = tl.max(logits, 0)
        e = tl.exp(logits - highest[None, :])
        total = tl.sum(e, 0)
        return e / total[None, :], highest, tl.log(total)


@triton.jit
def _member(membership_ptr, label, channel, L, SIGMOID: tl.constexpr):
    """Whether voxels belong to channels, (C, V)."""
    if SIGMOID:
        where = channel[:, None] * 256 + (label & 255)[None, :]
        inside = (channel < L)[:, None] & (label >= 0)[None, :] & (label < 256)[None, :]
        return tl.load(membership_ptr + where, mask=inside, other=0.0) > 0
    else:
        return channel[:, None] == label[None, :]


@triton.jit
def _wrong_and_surprisal(u):
    """σ(u) and log(1 + e^u), u the logit away from the truth."""
    a = tl.exp(-tl.abs(u))
    surprisal = tl.log(1.0 + a)
    # log(1 + a) loses the digits of a small a
    surprisal = tl.where(a < 1e-3, a - 0.5 * a * a, surprisal) + tl.maximum(u, 0.0)
    return _sigmoid(u), surprisal


@triton.jit
def sums_kernel(
    logits_ptr,
    target_ptr,
    membership_ptr,
    partial_ptr,
    V,
    L,
    num_classes,
    num_parts,
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
    s1,
    s2,
    s3,
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
    for start in range(part * BLOCK_V, V, num_parts * BLOCK_V):
        voxel = start + tl.arange(0, BLOCK_V)
        there = voxel < V
        label = _labels(
            target_ptr, voxel, there, n * tn, D2, D3, T1, T2, T3, D1, s1, s2, s3
        )
        at = (
            n * sn
            + channel.to(tl.int64)[:, None] * sc
            + voxel.to(tl.int64)[None, :] * sv
        )
        z = tl.load(logits_ptr + at, mask=real & there[None, :], other=0.0)
        z = z.to(tl.float32)
        counted = tl.where(there & (label != IGNORED), 1.0, 0.0)
        known = (label >= 0) & (label < num_classes) | (label == IGNORED)
        num_unknown += tl.sum(tl.where(known, 0.0, 1.0), 0)
        num_valid += tl.sum(counted, 0)
        # NaN where a logit is NaN or +infinity, which a sigmoid would hide
        alarm += tl.sum(tl.sum(tl.where(z == float("-inf"), 0.0, z * 0.0), 0), 0)
        p, highest, log_total = _probabilities(z, channel, L, SIGMOID)
        p = tl.where(real, p, 0.0) * counted[None, :]
        member = _member(membership_ptr, label, channel, L, SIGMOID)
        member = member & (counted > 0)[None, :]
        inside += tl.sum(tl.where(member, p, 0.0), 1)
        reference += tl.sum(tl.where(member, 1.0, 0.0), 1)
        predicted += tl.sum(p * p if SQUARED else p, 1)
        if HAS_VOXEL:
            truth = tl.sum(tl.where(member, z, 0.0), 0)
            log_p = tl.minimum(truth - highest - log_total, 0.0)
            loss = _power(tl.maximum(1.0 - tl.exp(log_p), 0.0), VOXEL_GAMMA) * -log_p
            by_voxel += tl.sum(tl.where(member, loss[None, :], 0.0), 1)
        if HAS_CHANNEL:
            wrong, surprisal = _wrong_and_surprisal(tl.where(member, -z, z))
            loss = _power(wrong, CHANNEL_GAMMA) * surprisal * counted[None, :]
            by_channel += tl.sum(tl.where(real, loss, 0.0), 1)
    out = partial_ptr + (n * num_parts + part) * ROWS * BLOCK_C + channel
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
def _row(sums_ptr, n, ROW: tl.constexpr, channel, counted, BLOCK_C: tl.constexpr):
    at = sums_ptr + (n * ROWS + ROW) * BLOCK_C + channel
    return tl.load(at, mask=counted, other=0.0)


@triton.jit
def _group(
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
        total = tl.zeros([BLOCK_C], tl.float64)
        for n in range(N):
            total += _row(sums_ptr, n, ROW, channel, counted, BLOCK_C)
        return total
    else:
        return _row(sums_ptr, group, ROW, channel, counted, BLOCK_C)


@triton.jit
def slopes_kernel(
    sums_ptr,
    voxel_weights_ptr,
    channel_weights_ptr,
    region_weights_ptr,
    slopes_ptr,
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
    factor = 0.0
    for k in tl.static_range(len(WEIGHTS)):
        factor = tl.where(output == k, WEIGHTS[k], factor)
    factor = factor.to(tl.float64)
    sums_ptr += output.to(tl.int64) * N * ROWS * BLOCK_C
    slopes_ptr += output.to(tl.int64) * N * 4 * BLOCK_C
    channel = tl.arange(0, BLOCK_C)
    real = channel < L
    counted = real & (channel >= FIRST)
    value = tl.zeros([BLOCK_C], tl.float64)
    num_valid = tl.zeros([BLOCK_C], tl.float64)
    num_unknown = tl.zeros([BLOCK_C], tl.float64)
    voxel_weights = tl.load(voxel_weights_ptr + channel, mask=real, other=0.0).to(
        tl.float64
    )
    voxel_total = tl.zeros([BLOCK_C], tl.float64)
    for n in range(N):
        # NaN where a logit was none, whether or not anything looks at predictions
        value += 0.0 * _row(sums_ptr, n, PREDICTED, channel, real, BLOCK_C)
        num_valid += _row(sums_ptr, n, OTHER, channel, channel == 0, BLOCK_C)
        num_unknown += _row(sums_ptr, n, OTHER, channel, channel == 1, BLOCK_C)
        voxel_total += voxel_weights * _row(
            sums_ptr, n, REFERENCE, channel, real, BLOCK_C
        )
    valid = tl.sum(num_valid, 0)
    tl.store(known_ptr + output, tl.sum(num_unknown, 0) == 0)

    # the voxel and the channel term
    total = tl.sum(voxel_total, 0) if WEIGHTED_MEAN else valid * L
    scale = tl.where(
        total > 0, factor * VOXEL_WEIGHT / tl.where(total > 0, total, 1.0), 0.0
    )
    voxel_slopes = scale * voxel_weights
    channel_slopes = tl.load(channel_weights_ptr + channel, mask=real, other=0.0)
    channel_slopes = (
        factor * CHANNEL_WEIGHT / tl.maximum(valid, 1.0) * channel_slopes.to(tl.float64)
    )
    for n in range(N):
        if VOXEL_WEIGHT != 0.0:
            value += voxel_slopes * _row(sums_ptr, n, VOXEL, channel, real, BLOCK_C)
        if CHANNEL_WEIGHT != 0.0:
            value += channel_slopes * _row(sums_ptr, n, CHANNEL, channel, real, BLOCK_C)

    # the region term: how many losses are averaged, then each of them
    num_groups = 1 if BATCH else N
    number = tl.zeros([BLOCK_C], tl.float64)
    for group in range(num_groups):
        t = _group(sums_ptr, group, N, REFERENCE, channel, counted, BATCH, BLOCK_C)
        present = counted & (t > 0) if SKIP_EMPTY else counted
        number += tl.where(present, 1.0, 0.0)
    over = tl.maximum(tl.sum(number, 0), 1.0)
    region_weights = tl.load(region_weights_ptr + channel, mask=counted, other=0.0).to(
        tl.float64
    )
    for group in range(num_groups):
        by_inside = tl.zeros([BLOCK_C], tl.float64)
        by_predicted = tl.zeros([BLOCK_C], tl.float64)
        if REGION != 0:
            i = _group(sums_ptr, group, N, INSIDE, channel, counted, BATCH, BLOCK_C)
            p = _group(sums_ptr, group, N, PREDICTED, channel, counted, BATCH, BLOCK_C)
            t = _group(sums_ptr, group, N, REFERENCE, channel, counted, BATCH, BLOCK_C)
            if REGION == 1:
                present = counted & (t > 0) if SKIP_EMPTY else counted
                # NaN passes where the class is left out
                share = tl.where(
                    present, factor * REGION_WEIGHT * region_weights / over, 0.0 * p
                )
                below = i + ALPHA * (p - i) + BETA * (t - i) + SMOOTH_DR
                below = tl.where(present, below, 1.0)
                ratio = (i + SMOOTH_NR) / below
                loss = 1.0 - ratio
                if EXPONENT != 1.0:
                    steep = tl.where(loss >= 1e-12, EXPONENT, 0.0)
                    least = tl.maximum(loss, 1e-12)
                    power = tl.exp(EXPONENT * tl.log(least))
                    steep = tl.where(loss == loss, steep * power / least, loss)
                    loss = tl.where(loss == loss, power, loss)
                else:
                    steep = tl.zeros_like(loss) + 1.0
                value += tl.where(counted, share * loss, 0.0)
                by_inside = share * steep * (ratio * (1.0 - ALPHA - BETA) - 1.0) / below
                by_predicted = share * steep * ratio * ALPHA / below
            else:
                weight = tl.where(counted, 1.0, 0.0).to(tl.float64)
                if VOLUME_POWER != 0:
                    full = tl.maximum(t, 1.0)
                    weight = 1.0 / (full * full if VOLUME_POWER == 2 else full)
                    weight = tl.where(counted & (t > 0), weight, 0.0)
                    weight = tl.where(t > 0, weight, tl.max(weight, 0))
                    weight = tl.where(counted, weight, 0.0)
                top = 2.0 * tl.sum(weight * i, 0) + SMOOTH_NR
                below = tl.sum(weight * (p + t), 0) + SMOOTH_DR
                share = factor * REGION_WEIGHT / num_groups
                value += tl.where(channel == 0, share * (1.0 - top / below), 0.0)
                by_inside = -2.0 * share * weight / below
                by_predicted = share * weight * top / (below * below)
        for n in range(N if BATCH else 1):
            row = n if BATCH else group
            at = slopes_ptr + row * 4 * BLOCK_C + channel
            tl.store(at, voxel_slopes.to(tl.float32))
            tl.store(at + BLOCK_C, channel_slopes.to(tl.float32))
            tl.store(at + 2 * BLOCK_C, by_inside.to(tl.float32))
            tl.store(at + 3 * BLOCK_C, by_predicted.to(tl.float32))
    tl.store(values_ptr + output, tl.sum(value, 0))


@triton.jit
def gradient_kernel(
    logits_ptr,
    target_ptr,
    membership_ptr,
    slopes_ptr,
    upstream_ptr,
    out_ptr,
    V,
    L,
    sn,
    sc,
    sv,
    on,
    oc,
    ov,
    D1,
    D2,
    D3,
    T1,
    T2,
    T3,
    tn,
    s1,
    s2,
    s3,
    SIGMOID: tl.constexpr,
    SQUARED: tl.constexpr,
    HAS_VOXEL: tl.constexpr,
    VOXEL_GAMMA: tl.constexpr,
    HAS_CHANNEL: tl.constexpr,
    CHANNEL_GAMMA: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_V: tl.constexpr,
):
    """Second pass: the gradient of a block of voxels."""
    n = tl.program_id(1).to(tl.int64)
    voxel = tl.program_id(0) * BLOCK_V + tl.arange(0, BLOCK_V)
    there = voxel < V
    channel = tl.arange(0, BLOCK_C)
    real = (channel < L)[:, None]
    label = _labels(
        target_ptr, voxel, there, n * tn, D2, D3, T1, T2, T3, D1, s1, s2, s3
    )
    c, v = channel.to(tl.int64)[:, None], voxel.to(tl.int64)[None, :]
    mask = real & there[None, :]
    z = tl.load(logits_ptr + n * sn + c * sc + v * sv, mask=mask, other=0.0)
    z = z.to(tl.float32)
    counted = tl.where(there & (label != IGNORED), 1.0, 0.0)
    p, highest, log_total = _probabilities(z, channel, L, SIGMOID)
    p = tl.where(real, p, 0.0) * counted[None, :]
    member = _member(membership_ptr, label, channel, L, SIGMOID)
    member = member & (counted > 0)[None, :]
    table = slopes_ptr + n * 4 * BLOCK_C + channel
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
            log_p = tl.sum(tl.where(member, z, 0.0), 0) - highest - log_total
            log_p = tl.minimum(log_p, 0.0)
            truth = tl.exp(log_p)
            own = tl.zeros_like(truth) - 1.0
            if VOXEL_GAMMA != 0.0:
                rest = tl.maximum(1.0 - truth, TINY)
                ratio = VOXEL_GAMMA * truth * tl.maximum(log_p, -1e4) / rest
                own = (ratio - 1.0) * _power(rest, VOXEL_GAMMA)
            weight = upstream * tl.load(table)
            pull += own * tl.sum(tl.where(member, weight[:, None], 0.0), 0)
        pull = pull * counted
        mean = tl.sum(push * p, 0) + pull
        out = p * (push - mean[None, :]) + tl.where(member, pull[None, :], 0.0)
    if HAS_CHANNEL:
        wrong, surprisal = _wrong_and_surprisal(tl.where(member, -z, z))
        slope = wrong
        if CHANNEL_GAMMA != 0.0:
            slope = CHANNEL_GAMMA * (1.0 - wrong) * surprisal + wrong
            slope = slope * _power(wrong, CHANNEL_GAMMA)
        slope = slope * (upstream * tl.load(table + BLOCK_C))[:, None]
        out += tl.where(member, -slope, slope) * counted[None, :]
    at = out_ptr + n * on + c * oc + v * ov
    tl.store(at, out.to(out_ptr.dtype.element_ty), mask=mask)
