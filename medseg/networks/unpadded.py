"""Unpadded convolutions: what they leave of an input, and cropping to it."""

from torch import Tensor, nn

from medseg.networks.settings import UNetSettings, per_axis
from medseg.networks.unet_levels import count_at, kernel_at


class CentreCrop(nn.Module):
    """Cuts the margin that unpadded convolutions lost elsewhere."""

    def forward(self, x: Tensor, like: Tensor) -> Tensor:
        """The centre of `x`, with the spatial size of `like`."""
        for axis in range(2, x.dim()):
            have, wanted = int(x.shape[axis]), int(like.shape[axis])
            x = x.narrow(axis, (have - wanted) // 2, wanted)
        return x


def unpadded_size(
    settings: UNetSettings, size: int, axis: int, *, spatial_dims: int
) -> int | None:
    """Voxels that come out of unpadded convolutions along one axis.

    Returns:
        None where a stride does not divide its input or nothing is left.
    """
    levels = range(len(settings.channels))
    lost = [kernel_at(settings, level, spatial_dims)[axis] - 1 for level in levels]
    strides = [per_axis(stride, spatial_dims)[axis] for stride in settings.strides]
    for level in levels:
        if size % strides[level]:
            return None
        convs = count_at(settings.convs_per_stage, level)
        size = size // strides[level] - convs * lost[level]
        if size < 1:
            return None
    for level in levels[-2::-1]:
        convs = count_at(settings.decoder_convs, level)
        size = size * strides[level + 1] - convs * lost[level]
        if size < 1:
            return None
    return size
