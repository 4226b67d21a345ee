"""Losses of single channels by compiled code."""

import ctypes

import torch
from torch import Tensor

from medseg.losses.native import FOCAL, Terms, library
from medseg.losses.streaming import scratch


def binary_focal_natively(u: Tensor, *, gamma: float, slope: bool) -> Tensor | None:
    """What `BinaryFocalTerm` gives, or None where compiled code cannot take it.

    Args:
        u: Logits away from the truth, shape (B,) or (L, B), float32 on the CPU.
        gamma: Exponent.
        slope: Give the derivative in place of the value.

    Returns:
        A tensor of the shape of `u`; for (L, B) in scratch memory of the thread.
    """
    rows = u if u.ndim == 2 else u[None]
    if (
        u.device.type != "cpu"
        or u.dtype != torch.float32
        or u.ndim > 2
        or rows.stride(1) != 1
    ):
        return None
    functions = library()
    if functions is None:
        return None
    if u.ndim == 1:
        out = torch.empty_like(rows)
    else:
        out = scratch(rows, name="focal", dtype=u.dtype)
    functions.medseg_channels(
        rows.data_ptr(),
        rows.stride(0),
        *rows.shape,
        ctypes.byref(Terms(channel=FOCAL, gamma=gamma)),
        int(slope),
        out.data_ptr(),
    )
    return out.view(u.shape)
