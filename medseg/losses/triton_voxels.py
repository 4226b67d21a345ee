"""What the passes over the voxels compute of one block of them, in Triton's language.

A block holds all channels of V voxels in registers, (C, V). Suffixes: `_ptr` an
address, `s` a stride, capitals what is known when compiling.
"""

import triton
import triton.language as tl

TINY = tl.constexpr(1.1754944e-38)
IGNORED = tl.constexpr(255)


@triton.jit
def pick(number, values):
    """One of a tuple of addresses or numbers, by a number known on the device."""
    picked = values[0]
    for k in tl.static_range(1, len(values)):
        picked = tl.where(number == k, values[k], picked)
    return picked


@triton.jit
def sigmoid(x):
    """σ(x), without an exponential that overflows."""
    a = tl.exp(-tl.abs(x))
    return tl.where(x >= 0, 1.0, a) / (1.0 + a)


@triton.jit
def power(x, EXPONENT: tl.constexpr):
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
def labels_at(target_ptr, voxel, inside, n, D1, D2, D3, T1, T2, T3, tn, t1, t2, t3):
    """Labels at the centres of voxels of an output's grid; see `targets.subsample`.

    The output has D1 × D2 × D3 voxels, the target T1 × T2 × T3 and strides tn to t3.
    """
    x = voxel // (D2 * D3)
    y = (voxel // D3) % D2
    z = voxel % D3
    x = ((2 * x + 1) * T1) // (2 * D1)
    y = ((2 * y + 1) * T2) // (2 * D2)
    z = ((2 * z + 1) * T3) // (2 * D3)
    where = n * tn + x.to(tl.int64) * t1 + y.to(tl.int64) * t2 + z.to(tl.int64) * t3
    return tl.load(target_ptr + where, mask=inside, other=IGNORED).to(tl.int32)


@triton.jit
def logits_at(logits_ptr, voxel, there, n, channel, real, sn, sc, sv):
    """Logits of all channels of voxels, float32, 0 beyond both, (C, V)."""
    c, v = channel.to(tl.int64)[:, None], voxel.to(tl.int64)[None, :]
    mask = real & there[None, :]
    z = tl.load(logits_ptr + n * sn + c * sc + v * sv, mask=mask, other=0.0)
    return z.to(tl.float32)


@triton.jit
def probabilities(logits, channel, L, SIGMOID: tl.constexpr):
    """Probabilities (C, V), and the largest logit and log Σ exp of each voxel, (V,)."""
    if SIGMOID:
        return sigmoid(logits), tl.zeros_like(tl.max(logits, 0)), tl.max(logits, 0)
    else:
        logits = tl.where((channel < L)[:, None], logits, float("-inf"))
        highest = tl.max(logits, 0)
        e = tl.exp(logits - highest[None, :])
        total = tl.sum(e, 0)
        return e / total[None, :], highest, tl.log(total)


@triton.jit
def members(membership_ptr, label, channel, L, SIGMOID: tl.constexpr):
    """Whether voxels belong to channels, (C, V)."""
    if SIGMOID:
        where = channel[:, None] * 256 + (label & 255)[None, :]
        inside = (channel < L)[:, None] & (label >= 0)[None, :] & (label < 256)[None, :]
        return tl.load(membership_ptr + where, mask=inside, other=0.0) > 0
    else:
        return channel[:, None] == label[None, :]


@triton.jit
def log_truth(z, member, highest, log_total):
    """Log-probability of each voxel's true class, (V,)."""
    truth = tl.sum(tl.where(member, z, 0.0), 0)
    return tl.minimum(truth - highest - log_total, 0.0)


@triton.jit
def focal(log_p, GAMMA: tl.constexpr):
    """(1 − p)^γ · (−log p), γ 0 for cross-entropy."""
    return power(tl.maximum(1.0 - tl.exp(log_p), 0.0), GAMMA) * -log_p


@triton.jit
def focal_slope(log_p, GAMMA: tl.constexpr):
    """Derivative of `focal` by log p."""
    truth = tl.exp(log_p)
    slope = tl.zeros_like(truth) - 1.0
    if GAMMA != 0.0:
        rest = tl.maximum(1.0 - truth, TINY)
        ratio = GAMMA * truth * tl.maximum(log_p, -1e4) / rest
        slope = (ratio - 1.0) * power(rest, GAMMA)
    return slope


@triton.jit
def wrong_and_surprisal(u):
    """σ(u) and log(1 + e^u), u the logit away from the truth."""
    a = tl.exp(-tl.abs(u))
    surprisal = tl.log(1.0 + a)
    # log(1 + a) loses the digits of a small a
    surprisal = tl.where(a < 1e-3, a - 0.5 * a * a, surprisal) + tl.maximum(u, 0.0)
    return sigmoid(u), surprisal


@triton.jit
def channel_focal(z, member, GAMMA: tl.constexpr):
    """σ(u)^γ · log(1 + e^u) of each channel by itself, (C, V)."""
    wrong, surprisal = wrong_and_surprisal(tl.where(member, -z, z))
    return power(wrong, GAMMA) * surprisal


@triton.jit
def channel_focal_slope(z, member, GAMMA: tl.constexpr):
    """Derivative of `channel_focal` by u, (C, V)."""
    wrong, surprisal = wrong_and_surprisal(tl.where(member, -z, z))
    slope = wrong
    if GAMMA != 0.0:
        slope = GAMMA * (1.0 - wrong) * surprisal + wrong
        slope = slope * power(wrong, GAMMA)
    return slope
