"""The losses once more, slowly: one-hot masks, float64, PyTorch's own derivatives.

Written from the formulas in ``docs/losses.md``, sharing nothing with the package.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

NO_REGION = ("ce", "focal")


def reference_loss(
    logits: Tensor,
    target: Tensor,
    *,
    name: str,
    regions: tuple[tuple[int, ...], ...] = (),
    **options: object,
) -> Tensor:
    """The loss of logits (N, L, *spatial), float64; labels of 255 are left out."""
    z, labels = logits.double().flatten(2), target.long().flatten(1)
    valid = (labels != 255).double()[:, None]
    if regions:
        masks = torch.stack(
            [torch.isin(labels, torch.tensor(classes)) for classes in regions], 1
        )
        p = z.sigmoid()
    else:
        masks = F.one_hot(labels * (labels != 255), z.shape[1]).movedim(-1, 1)
        p = z.softmax(1)
    masks = masks.double() * valid
    sigmoid = bool(regions) or options.get("activation") == "sigmoid"
    total = 0.0
    if name not in NO_REGION:
        region = _region(p * valid, masks, name, bool(regions), options)
        total = total + options.get("dice_weight", 1.0) * region
    if name in ("ce", "dice_ce"):
        value = _binary_focal if regions else _cross_entropy
        total = total + options.get("ce_weight", 1.0) * value(
            z, masks, valid, options, 0
        )
    if name in ("focal", "dice_focal"):
        value = _binary_focal if sigmoid else _focal
        gamma = options.get("gamma", 2.0)
        weight = options.get("focal_weight", 1.0)
        total = total + weight * value(z, masks, valid, options, gamma)
    return total


def _weights(options: dict, like: Tensor) -> Tensor:
    weights = options.get("class_weights")
    return like.new_ones(like.shape[1]) if weights is None else like.new_tensor(weights)


def _region(p: Tensor, t: Tensor, name: str, no_background: bool, options: dict):
    everywhere = no_background or options.get(
        "include_background", name == "generalized_dice"
    )
    inside, reference = (p * t).sum(2), t.sum(2)
    predicted = (p**2 if options.get("squared") else p).sum(2)
    weights = _weights(options, t)
    if not everywhere:
        inside, reference, predicted = inside[:, 1:], reference[:, 1:], predicted[:, 1:]
        weights = weights[1:]
    if options.get("batch"):
        inside, reference, predicted = (
            x.sum(0, keepdim=True) for x in (inside, reference, predicted)
        )
    nr, dr = options.get("smooth_nr", 1e-5), options.get("smooth_dr", 1e-5)
    if name == "generalized_dice":
        power = {"square": 2, "simple": 1, "uniform": 0}
        power = power[options.get("volume_weight", "square")]
        w = torch.where(reference > 0, reference.clamp_min(1) ** -power, 0)
        w = torch.where(reference > 0, w, w.amax(1, keepdim=True))
        if power == 0:
            w = torch.ones_like(w)
        top = 2 * (w * inside).sum(1) + nr
        return (1 - top / ((w * (predicted + reference)).sum(1) + dr)).mean()
    if "tversky" in name:
        alpha, beta = options.get("alpha", 0.3), options.get("beta", 0.7)
        wrong = alpha * (predicted - inside) + beta * (reference - inside)
        each = 1 - (inside + nr) / (inside + wrong + dr)
        if name == "focal_tversky":
            each = each ** options.get("exponent", 0.75)
    elif name == "jaccard" or options.get("jaccard"):
        each = 1 - (2 * inside + nr) / (2 * (predicted + reference - inside) + dr)
    else:
        total = predicted + reference + dr
        if options.get("empty") == "skip":
            total = torch.where(reference > 0, total, 1)
        each = 1 - (2 * inside + nr) / total
    each = each * weights
    if options.get("empty") == "skip":
        return each[reference > 0].sum() / max(1, int((reference > 0).sum()))
    return each.mean()


def _cross_entropy(
    z: Tensor, masks: Tensor, valid: Tensor, options: dict, gamma: float
):
    weights = _weights(options, z)[:, None] * masks
    if weights.sum() == 0:
        return 0 * z.sum()
    return -(weights * z.log_softmax(1)).sum() / weights.sum()


def _focal(z: Tensor, masks: Tensor, valid: Tensor, options: dict, gamma: float):
    log_p = (z.log_softmax(1) * masks).sum(1)
    weights = (_weights(options, z)[:, None] * masks).sum(1)
    each = weights * (1 - log_p.exp()).clamp_min(1e-300) ** gamma * -log_p
    return each.sum() / max(1.0, float(valid.sum()) * z.shape[1])


def _binary_focal(z: Tensor, masks: Tensor, valid: Tensor, options: dict, gamma: float):
    u = torch.where(masks > 0, -z, z)
    each = u.sigmoid() ** gamma * F.softplus(u) * valid
    each = (each * _weights(options, z)[:, None]).sum((0, 2)).mean()
    return each / max(1.0, float(valid.sum()))
