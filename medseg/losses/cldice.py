"""clDice: overlap of centre lines, for vessels, airways and nerves."""

from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medseg.losses.probabilities import Regions, probabilities_and_masks
from medseg.losses.targets import check_shapes, nonfinite_alarm


class ClDiceLoss(nn.Module):
    """1 − 2 T S / (T + S + ε), averaged over samples, T and S soft topology scores.

    T = (Σ S_p t + 1) / (Σ S_p + 1) is how much of the predicted centre line lies in
    the reference, S = (Σ S_t p + 1) / (Σ S_t + 1) how much of the reference's centre
    line is predicted; S_p and S_t are soft skeletons (`soft_skeleton`), sums run over
    voxels and classes. As `monai.losses.SoftclDiceLoss`, ε = 1e-4. Voxels to ignore
    count as empty in both.

    References:
        Shit et al., CVPR 2021, arXiv:2003.07311.
    """

    def __init__(
        self,
        *,
        num_channels: int,
        iterations: int,
        regions: Regions = (),
        first_class: int = 0,
    ) -> None:
        """Takes the channels of the logits, what they stand for, and how thick.

        Args:
            num_channels: Channels of the logits.
            iterations: Erosions until the thickest tube is gone, its radius in voxels.
            regions: Classes of each overlapping region.
            first_class: 1 to leave out the background.
        """
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
    smallest = []
    for axis in range(dims):
        size = tuple(3 if d == axis else 1 for d in range(dims))
        padding = tuple(1 if d == axis else 0 for d in range(dims))
        smallest.append(-pool(-image, size, 1, padding))
    return reduce(torch.minimum, smallest)


def _dilate(image: Tensor) -> Tensor:
    """Largest value among all neighbours, a cube."""
    pool = F.max_pool3d if image.ndim == 5 else F.max_pool2d
    return pool(image, 3, 1, 1)
