"""Values and gradients against MONAI, nnU-Net's formulas and plain PyTorch."""

import pytest
import torch
from monai import losses as peer
from pydantic import TypeAdapter
from torch.nn import functional as F

from medseg.losses import LossSettings, build_loss

SOFTMAX = {"softmax": True, "to_onehot_y": True, "include_background": False}
ALL = {"softmax": True, "to_onehot_y": True}
NESTED = ((1, 2, 3), (2, 3), (3,))


def settings(name, **options):
    return TypeAdapter(LossSettings).validate_python({"name": name, **options})


def case(dtype, channels=4):
    generator = torch.Generator().manual_seed(1)
    logits = 3 * torch.randn(2, channels, 7, 8, 9, generator=generator, dtype=dtype)
    target = torch.randint(0, 4, (2, 7, 8, 9), generator=generator)
    return logits.requires_grad_(), target


def assert_same(ours, theirs, logits, tolerance):
    mine = torch.autograd.grad(ours, logits)[0]
    other = torch.autograd.grad(theirs, logits)[0]
    assert ours.item() == pytest.approx(theirs.item(), rel=tolerance, abs=tolerance)
    assert (mine - other).abs().max() <= tolerance * other.abs().max()


SOFTMAX_CASES = [
    (settings("dice"), peer.DiceLoss(**SOFTMAX)),
    (settings("dice", include_background=True), peer.DiceLoss(**ALL)),
    (settings("dice", batch=True), peer.DiceLoss(**SOFTMAX, batch=True)),
    (settings("dice", squared=True), peer.DiceLoss(**SOFTMAX, squared_pred=True)),
    (settings("jaccard"), peer.DiceLoss(**SOFTMAX, jaccard=True)),
    (
        settings("dice", class_weights=(1, 2, 3, 4), smooth_nr=1, smooth_dr=2),
        peer.DiceLoss(**SOFTMAX, weight=(2, 3, 4), smooth_nr=1, smooth_dr=2),
    ),
    (settings("dice_ce"), peer.DiceCELoss(**SOFTMAX)),
    (
        settings("dice_ce", batch=True, dice_weight=0.7, ce_weight=1.3, squared=True),
        peer.DiceCELoss(
            **SOFTMAX, batch=True, lambda_dice=0.7, lambda_ce=1.3, squared_pred=True
        ),
    ),
    (
        settings("dice_focal", activation="sigmoid", include_background=True),
        peer.DiceFocalLoss(**ALL),
    ),
    (settings("focal", activation="sigmoid"), peer.FocalLoss(to_onehot_y=True)),
    (
        settings("focal", activation="sigmoid", gamma=1.5, class_weights=(1, 2, 3, 4)),
        peer.FocalLoss(to_onehot_y=True, gamma=1.5, weight=(1, 2, 3, 4)),
    ),
    (settings("focal"), peer.FocalLoss(to_onehot_y=True, use_softmax=True)),
    (
        settings("focal", gamma=0.5, class_weights=(1, 2, 3, 4)),
        peer.FocalLoss(
            to_onehot_y=True, use_softmax=True, gamma=0.5, weight=(1, 2, 3, 4)
        ),
    ),
    (settings("tversky"), peer.TverskyLoss(**SOFTMAX, alpha=0.3, beta=0.7)),
    (settings("generalized_dice"), peer.GeneralizedDiceLoss(**ALL)),
    (
        settings("generalized_dice", batch=True, volume_weight="simple"),
        peer.GeneralizedDiceLoss(**ALL, batch=True, w_type="simple"),
    ),
    (
        settings("generalized_dice", volume_weight="uniform"),
        peer.GeneralizedDiceLoss(**ALL, w_type="uniform"),
    ),
    (
        settings("boundary", dice_weight=0, boundary_weight=1),
        peer.BoundaryLoss(**SOFTMAX),
    ),
    (settings("cldice", cldice_share=1), peer.SoftclDiceLoss(**SOFTMAX)),
]


@pytest.mark.parametrize("engine", ["chunks", "whole"])
@pytest.mark.parametrize(("ours", "theirs"), SOFTMAX_CASES)
def test_softmax_losses_equal_monai_in_float32(ours, theirs, engine):
    logits, target = case(torch.float32)
    loss = build_loss(ours, num_classes=4, engine=engine)(
        logits, target.to(torch.uint8)
    )
    assert_same(loss, theirs(logits, target[:, None]), logits, 1e-5)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (settings("dice"), peer.DiceLoss(sigmoid=True)),
        (
            settings("dice", squared=True),
            peer.DiceLoss(sigmoid=True, squared_pred=True),
        ),
        (settings("dice", batch=True), peer.DiceLoss(sigmoid=True, batch=True)),
        (settings("focal"), peer.FocalLoss()),
        (settings("dice_focal"), peer.DiceFocalLoss(sigmoid=True)),
        (settings("tversky"), peer.TverskyLoss(sigmoid=True, alpha=0.3, beta=0.7)),
        (settings("generalized_dice"), peer.GeneralizedDiceLoss(sigmoid=True)),
        (
            settings("boundary", dice_weight=0, boundary_weight=1),
            peer.BoundaryLoss(sigmoid=True),
        ),
        (settings("cldice", cldice_share=1), peer.SoftclDiceLoss(sigmoid=True)),
    ],
)
def test_region_losses_equal_monai_in_float32(ours, theirs):
    logits, target = case(torch.float32, channels=3)
    masks = torch.stack([torch.isin(target, torch.tensor(r)) for r in NESTED], 1)
    loss = build_loss(ours, num_classes=4, regions=NESTED)(logits, target)
    assert_same(loss, theirs(logits, masks.float()), logits, 1e-5)


def test_regions_use_binary_cross_entropy_as_nnunet():
    logits, target = case(torch.float64, channels=3)
    masks = torch.stack([torch.isin(target, torch.tensor(r)) for r in NESTED], 1)
    loss = build_loss(settings("ce"), num_classes=4, regions=NESTED)(logits, target)
    expected = F.binary_cross_entropy_with_logits(logits, masks.double())
    assert_same(loss, expected, logits, 1e-10)


@pytest.mark.parametrize("weights", [None, (1.0, 0.0, 3.0, 0.5)])
def test_cross_entropy_is_that_of_pytorch(weights):
    logits, target = case(torch.float64)
    target[:, 2] = 255
    loss = build_loss(settings("ce", class_weights=weights), num_classes=4)
    tensor = None if weights is None else torch.tensor(weights).double()
    expected = F.cross_entropy(logits, target, weight=tensor, ignore_index=255)
    assert_same(loss(logits, target), expected, logits, 1e-10)


def test_top_k_takes_the_hardest_voxels():
    logits, target = case(torch.float64)
    each = F.cross_entropy(logits, target, reduction="none").flatten()
    expected = each.sort(descending=True).values[:101].mean()
    share = settings("topk_ce", share=100.5 / each.numel())
    loss = build_loss(share, num_classes=4)(logits, target)
    assert_same(loss, expected, logits, 1e-10)


def test_focal_tversky_is_a_power_of_tversky():
    logits, target = case(torch.float64)
    one = {"include_background": False, "batch": True}
    tversky = peer.TverskyLoss(
        **SOFTMAX, alpha=0.3, beta=0.7, reduction="none", batch=True
    )
    expected = (tversky(logits, target[:, None]) ** 0.75).mean()
    loss = build_loss(settings("focal_tversky", **one), num_classes=4)(logits, target)
    assert_same(loss, expected, logits, 1e-6)


def test_dice_gradient_is_the_closed_form():
    """Per voxel (D − 2t) / (Σp + Σt), through the sigmoid p (1 − p)."""
    logits, target = case(torch.float64, channels=1)
    logits, target = logits[:1].detach().requires_grad_(), (target[:1] > 1).long()
    options = {"smooth_nr": 0, "smooth_dr": 0}
    loss = build_loss(settings("dice", **options), num_classes=2, regions=((1,),))
    (gradient,) = torch.autograd.grad(loss(logits, target), logits)
    p, t = logits.sigmoid(), target[:, None].double()
    total = (p + t).sum()
    dice = 2 * (p * t).sum() / total
    assert torch.allclose(gradient, (dice - 2 * t) / total * p * (1 - p), rtol=1e-10)
