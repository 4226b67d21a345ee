"""Networks averaged: over test-time flips, and over the models of an ensemble."""

import itertools
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from medseg.inference.streaming import Predict


def flipped_average(predict: Predict, *, axes: Sequence[int]) -> Predict:
    """A network that averages its logits over test-time flips.

    Args:
        predict: The network.
        axes: Spatial axes that are mirrored, in all combinations: those that training
            mirrored; an image that no scan resembles is answered at random.
    """
    flips = [
        combination
        for count in range(len(axes) + 1)
        for combination in itertools.combinations([2 + axis for axis in axes], count)
    ]

    def averaged(image: Tensor) -> Tensor:
        total = predict(image).float()
        for flip in flips[1:]:
            total = total + predict(image.flip(flip)).float().flip(flip)
        return total / len(flips)

    return averaged


SMALLEST = 1e-7
"""Probabilities are kept this far from 0, and from 1, before the logarithm."""


def ensemble(
    members: Sequence[Predict],
    *,
    average: Literal["logits", "probabilities"] = "logits",
    overlapping: bool = False,
) -> Predict:
    """A network that says the mean of its members; only one window's sum is kept.

    Args:
        members: Networks from (N, C, *spatial) to logits (N, L, *spatial).
        average: Logits, or probabilities; the mean probabilities are handed on as
            logits again, so that everything after them stays the same.
        overlapping: Whether logits are of regions, each with its own sigmoid.
    """
    if average == "logits":
        return lambda windows: _mean(members, windows, lambda logits: logits)
    if overlapping:
        return lambda windows: torch.logit(
            _mean(members, windows, torch.sigmoid), eps=SMALLEST
        )
    return lambda windows: (
        _mean(members, windows, lambda logits: logits.softmax(dim=1))
        .clamp_min(SMALLEST)
        .log()
    )


def _mean(
    members: Sequence[Predict], windows: Tensor, change: Callable[[Tensor], Tensor]
) -> Tensor:
    with torch.inference_mode():
        total = change(members[0](windows).float()).clone()
        for member in members[1:]:
            total += change(member(windows).float())
        return total.div_(len(members))
