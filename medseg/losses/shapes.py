"""Losses of the shape of a region, which sums over voxels cannot tell.

They need probabilities and masks of every class or region whole.
"""

from functools import reduce

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medseg.labels import IGNORE_INDEX
from medseg.losses.targets import check_shapes, nonfinite_alarm

Regions = tuple[tuple[int, ...], ...]


class BoundaryLoss(nn.Module):
    """Mean over voxels, classes and samples of φ p, φ the signed distance to truth.

    φ is in voxels: the distance to the reference outside of it, and inside minus the
    distance to the background plus one, so that it is 0 on the region's own rim; 0
    everywhere for a class that is absent or fills the patch. As
    `monai.losses.BoundaryLoss`. The value may be negative. Alone it does not train
    well from scratch: it is meant as an addition to a region loss.

    The distances are computed at every call, on a CPU by the library ``edt``, elsewhere
    on the device itself (`squared_distances`), which is not waited for.

    References:
        Kervadec et al., MIDL 2019, arXiv:1812.07032.
    """

    def __init__(
        self, *, num_channels: int, regions: Regions = (), first_class: int = 0
    ) -> None:
        super().__init__()
        self.num_channels = num_channels
        self.regions = regions
        self.first_class = first_class

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss of logits (N, L, *spatial) for class indices (N, *spatial)."""
        check_shapes(logits, target, num_channels=self.num_channels)
        p, masks = probabilities_and_masks(
            logits, target, regions=self.regions, first_class=self.first_class
        )
        return (p * signed_distances(masks)).mean() + nonfinite_alarm(logits)


def signed_distances(masks: Tensor) -> Tensor:
    """φ of every mask, in voxels, of the masks' shape (N, L, *spatial) and type."""
    if masks.device.type != "cpu":
        return signed_distances_on_device(masks)
    found = masks.detach().cpu().numpy() > 0.5
    result = np.zeros(found.shape, np.float32)
    for index in np.ndindex(found.shape[:2]):
        result[index] = _signed_distance(found[index])
    return torch.from_numpy(result).to(masks)


def _signed_distance(mask: np.ndarray) -> np.ndarray:
    import edt

    if not mask.any() or mask.all():
        return np.zeros(mask.shape, np.float32)
    inside = edt.edt(np.ascontiguousarray(mask))
    outside = edt.edt(np.ascontiguousarray(~mask))
    return np.asarray(np.where(mask, 1 - inside, outside), np.float32)


@torch.no_grad()
def signed_distances_on_device(masks: Tensor) -> Tensor:
    """The same by PyTorch alone, on the device of the masks."""
    inside = masks > 0.5
    parts = inside.flatten(2)
    is_partial = parts.any(-1) & ~parts.all(-1)
    both = torch.stack([~inside, inside])
    distances = squared_distances(both, spatial_dims=masks.ndim - 2).sqrt()
    to_background, to_region = distances
    phi = torch.where(inside, 1 - to_background, to_region)
    return (phi * is_partial.view(*is_partial.shape, *(1,) * (masks.ndim - 2))).to(
        masks
    )


MOST_SUMS = 2**26
"""Sums of `squared_distances` that are held at once: 256 MB."""


def squared_distances(marked: Tensor, *, spatial_dims: int) -> Tensor:
    """Squared distance in voxels to the nearest marked voxel, float32, exact.

    One axis after the other, the least of f(j) + (i − j)² over all j of the line; where
    nothing is marked, the values are larger than any distance, and finite. The work
    grows with the length of the lines; there is no other dependence between voxels, so
    that a GPU does it without being waited for.

    Args:
        marked: Booleans of shape (..., *spatial).
        spatial_dims: Number of spatial axes, the last ones.

    References:
        Felzenszwalb and Huttenlocher, Theory of Computing 8 (2012), for the separation
        into axes.
    """
    too_far = float(sum(n**2 for n in marked.shape[-spatial_dims:]))
    distances = torch.where(marked, 0.0, too_far)
    for axis in range(-spatial_dims, 0):
        lines = distances.movedim(axis, -1)
        places = torch.arange(lines.shape[-1], device=marked.device)
        steps = (places[:, None] - places).square().to(lines)
        at_once = max(1, MOST_SUMS // max(1, lines.numel()))
        nearest = [
            (lines[..., None, :] + part).amin(-1)
            for part in torch.split(steps, at_once)
        ]
        distances = torch.cat(nearest, -1).movedim(-1, axis)
    return distances


class ClDiceLoss(nn.Module):
    """1 − 2 T S / (T + S + ε), averaged over samples, T and S soft topology scores.

    T = (Σ S_p t + 1) / (Σ S_p + 1) is how much of the predicted centre line lies in
    the reference, S = (Σ S_t p + 1) / (Σ S_t + 1) how much of the reference's centre
    line is predicted; S_p and S_t are soft skeletons (`soft_skeleton`), sums run over
    voxels and classes. As `monai.losses.SoftclDiceLoss`, ε = 1e-4. Voxels to ignore
    count as empty in both.

    References:
        Shit et al., CVPR 2021, arXiv:2003.07311.

    Args:
        num_channels: Channels of the logits.
        iterations: Erosions until the thickest tube is gone, its radius in voxels.
        regions: Classes of each overlapping region.
        first_class: 1 to leave out the background.
    """

    def __init__(
        self,
        *,
        num_channels: int,
        iterations: int,
        regions: Regions = (),
        first_class: int = 0,
    ) -> None:
        super().__init__()
        self.num_channels = num_channels
        self.iterations = iterations
        self.regions = regions
        self.first_class = first_class

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss of logits (N, L, *spatial) for class indices (N, *spatial)."""
        check_shapes(logits, target, num_channels=self.num_channels)
        p, masks = probabilities_and_masks(
            logits, target, regions=self.regions, first_class=self.first_class
        )
        axes = tuple(range(1, p.ndim))
        lines = soft_skeleton(p, iterations=self.iterations)
        true_lines = soft_skeleton(masks, iterations=self.iterations)
        precision = ((lines * masks).sum(axes) + 1) / (lines.sum(axes) + 1)
        recall = ((true_lines * p).sum(axes) + 1) / (true_lines.sum(axes) + 1)
        score = 2 * precision * recall / (precision + recall + 1e-4)
        return (1 - score).mean() + nonfinite_alarm(logits)


def soft_skeleton(image: Tensor, *, iterations: int) -> Tensor:
    """What thins away under soft erosion but is not restored by soft opening.

    Args:
        image: Values in [0, 1], shape (N, L, *spatial), 2D or 3D.
        iterations: Erosions, the radius in voxels of the thickest tube.

    Returns:
        Values in [0, 1], near 1 on centre lines, of the same shape.
    """
    skeleton = F.relu(image - _dilate(_erode(image)))
    for _ in range(iterations):
        image = _erode(image)
        ridge = F.relu(image - _dilate(_erode(image)))
        skeleton = skeleton + F.relu(ridge - skeleton * ridge)
    return skeleton


def _erode(image: Tensor) -> Tensor:
    """Smallest value along each axis among three neighbours, a cross."""
    dims = image.ndim - 2
    pool = F.max_pool3d if dims == 3 else F.max_pool2d
    turned, largest = -image, []
    for axis in range(dims):
        size = tuple(3 if d == axis else 1 for d in range(dims))
        padding = tuple(1 if d == axis else 0 for d in range(dims))
        largest.append(pool(turned, size, 1, padding))
    return -reduce(torch.maximum, largest)


def _dilate(image: Tensor) -> Tensor:
    """Largest value among all neighbours, a cube."""
    pool = F.max_pool3d if image.ndim == 5 else F.max_pool2d
    return pool(image, 3, 1, 1)


def probabilities_and_masks(
    logits: Tensor, target: Tensor, *, regions: Regions, first_class: int
) -> tuple[Tensor, Tensor]:
    """Both of shape (N, L', *spatial), of the logits' type; 0 where ignored.

    Args:
        logits: Shape (N, L, *spatial).
        target: Class indices of shape (N, *spatial); 255 is left out.
        regions: Classes of each overlapping region; empty for classes that exclude
            each other.
        first_class: 1 to leave out the background; without effect on regions.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    counted = (target != IGNORE_INDEX)[:, None]
    if regions:
        masks = torch.stack([_is_any(target, classes) for classes in regions], 1)
        p = logits.sigmoid()
    else:
        classes = torch.arange(first_class, logits.shape[1], device=target.device)
        shape = (1, -1, *(1,) * (target.ndim - 1))
        masks = target[:, None] == classes.view(shape)
        p = logits.softmax(1)[:, first_class:]
    return p * counted, masks.to(p)


def _is_any(target: Tensor, classes: tuple[int, ...]) -> Tensor:
    """Whether voxels are of any of the classes, a mask of the target's shape."""
    return reduce(torch.logical_or, [target == label for label in classes])
