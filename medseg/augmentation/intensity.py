"""Changes of intensity; each takes rows (r, voxels) and one amount (r,) per row."""

from torch import Tensor

SMALL = 1e-7


def change_brightness(rows: Tensor, factors: Tensor) -> Tensor:
    """Intensities times a factor."""
    return rows.mul_(factors[:, None])


def change_contrast(rows: Tensor, factors: Tensor) -> Tensor:
    """Distance from the mean times a factor, kept within each row's own range."""
    low, high = rows.aminmax(dim=1, keepdim=True)
    mean = rows.mean(dim=1, keepdim=True)
    rows = rows.sub_(mean).mul_(factors[:, None]).add_(mean)
    return rows.clamp_(low, high)


def change_gamma(rows: Tensor, exponents: Tensor) -> Tensor:
    """Intensities, scaled to 0 to 1, to a power; mean and deviation are kept."""
    mean = rows.mean(dim=1, keepdim=True)
    deviation = rows.std(dim=1, keepdim=True, correction=0)
    low, high = rows.aminmax(dim=1, keepdim=True)
    rows = rows.sub_(low).div_((high - low).clamp_(min=SMALL))
    rows = rows.clamp_(min=0).pow_(exponents[:, None])
    changed = rows.std(dim=1, keepdim=True, correction=0).clamp_(min=SMALL)
    rows = rows.sub_(rows.mean(dim=1, keepdim=True))
    return rows.mul_(deviation / changed).add_(mean)


def change_inverted_gamma(rows: Tensor, exponents: Tensor) -> Tensor:
    """The same on the negative: opens bright parts where gamma opens dark ones."""
    return change_gamma(rows.neg_(), exponents).neg_()
