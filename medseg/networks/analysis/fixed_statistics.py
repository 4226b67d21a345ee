"""Normalizations that keep the statistics of one image."""

import copy
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from medseg.networks.blocks import InstanceNorm

NetworkT = TypeVar("NetworkT", bound=nn.Module)
BY_IMAGE = (InstanceNorm, nn.InstanceNorm2d, nn.InstanceNorm3d, nn.GroupNorm)


class FixedNorm(nn.Module):
    """An instance or group normalization with mean and deviation held fixed."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm
        self.scale: Tensor | None = None
        self.shift: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """The first image's normalization is applied to all later ones."""
        if self.scale is None or self.shift is None:
            result: Tensor = self.norm(x)
            self._remember(x, result)
            return result
        return x * self.scale + self.shift

    def _remember(self, x: Tensor, result: Tensor) -> None:
        """The line y = a·x + b through what went in and out, per channel."""
        axes = [0, *range(2, x.dim())]
        centre, level = x.mean(axes, keepdim=True), result.mean(axes, keepdim=True)
        within = (x - centre).square().sum(axes, keepdim=True)
        across = ((x - centre) * (result - level)).sum(axes, keepdim=True)
        self.scale = across / within.clamp_min(torch.finfo(x.dtype).tiny)
        self.shift = level - self.scale * centre


def with_fixed_statistics(network: NetworkT, image: Tensor) -> NetworkT:
    """A copy in eval mode that normalizes every image as it would this one.

    Without it, no voxel is independent of the others, and the theory of convolutions
    holds only approximately.

    Args:
        network: Any network.
        image: Shape (1, C, *spatial).
    """
    fixed = copy.deepcopy(network).eval()
    _replace(fixed)
    with torch.no_grad():
        fixed(image)
    return fixed


def _replace(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, BY_IMAGE):
            replacement: Any = FixedNorm(child)
            setattr(module, name, replacement)
        else:
            _replace(child)
