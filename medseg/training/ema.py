"""An exponential moving average of the weights, usable at any time."""

import copy

import torch
from torch import Tensor, nn


class AveragedWeights:
    """A second copy of a network whose weights trail the trained ones.

    The decay at step t is min(decay, (1 + t) / (10 + t)), so that the first steps do
    not weigh for long (as in TensorFlow's ExponentialMovingAverage).

    References:
        Polyak and Juditsky, SIAM J Control Optim 1992, doi:10.1137/0330046.
    """

    def __init__(self, network: nn.Module, *, decay: float) -> None:
        self.network = copy.deepcopy(network).eval()
        for parameter in self.network.parameters():
            parameter.requires_grad = False
        self.decay = decay

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Moves towards the network's weights after a step (counted from 0)."""
        weight = 1 - min(self.decay, (1 + step) / (10 + step))
        averaged: list[Tensor] = list(self.network.parameters())
        torch._foreach_lerp_(averaged, list(network.parameters()), weight)
        for mine, other in zip(self.network.buffers(), network.buffers(), strict=True):
            mine.copy_(other)
