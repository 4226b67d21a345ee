"""Losses by path: values of MONAI's and torch's own, and what they are given."""

import monai.losses
import pytest
import torch
from torch import Tensor

from medseg import plugins
from medseg.errors import PluginError
from medseg.labels import IGNORE_INDEX
from medseg.losses.build import build_loss
from medseg.losses.settings import PluginLossSettings

REGIONS = ((1, 2), (2,))
SEGMENTING = {
    "DiceLoss": {},
    "DiceCELoss": {"lambda_ce": 0.5},
    "DiceFocalLoss": {},
    "FocalLoss": {"gamma": 1.5},
    "TverskyLoss": {"alpha": 0.3, "beta": 0.7},
    "GeneralizedDiceLoss": {},
    "GeneralizedDiceFocalLoss": {},
    "HausdorffDTLoss": {},
    "LogHausdorffDTLoss": {},
    "MCCLoss": {},
    "SoftclDiceLoss": {},
    "SoftDiceclDiceLoss": {},
}
"""Losses of `monai.losses` that have MONAI's flags, with an argument or two."""


@pytest.fixture(autouse=True)
def monai_allowed(forgotten: None) -> None:
    plugins.allow("monai", "torch")


def batch(*, channels: int = 3, dims: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn((2, channels, *(8,) * dims), generator=generator)
    target = torch.randint(3, (2, *(8,) * dims), generator=generator)
    return logits.requires_grad_(), target.to(torch.uint8)


def by_path(name: str, *, regions: tuple[tuple[int, ...], ...] = (), **args: object):  # type: ignore[no-untyped-def]
    settings = PluginLossSettings(name=name, args=args)
    return build_loss(settings, num_classes=3, regions=regions)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", SEGMENTING)
def test_monais_losses_get_labels_and_their_flags(name: str, dims: int) -> None:
    logits, target = batch(dims=dims)
    args = SEGMENTING[name]
    flag = "use_softmax" if name == "FocalLoss" else "softmax"
    own = getattr(monai.losses, name)(to_onehot_y=True, **{flag: True}, **args)
    expected = own(logits, target.long()[:, None])
    found = by_path(f"monai.losses:{name}", **args)(logits, target)
    torch.testing.assert_close(found, expected)
    (gradient,) = torch.autograd.grad(found, logits)
    (wanted,) = torch.autograd.grad(expected, logits)
    torch.testing.assert_close(gradient, wanted)


@pytest.mark.parametrize("name", ["DiceLoss", "DiceCELoss", "FocalLoss", "TverskyLoss"])
def test_overlapping_regions_are_masks_with_a_sigmoid(name: str) -> None:
    logits, target = batch(channels=2)
    masks = torch.stack([target > 0, target == 2], dim=1).float()
    flags = {} if name == "FocalLoss" else {"sigmoid": True}
    expected = getattr(monai.losses, name)(**flags)(logits, masks)
    found = by_path(f"monai.losses:{name}", regions=REGIONS)(logits, target)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    "name", ["monai.losses:DiceCELoss", "torch.nn:CrossEntropyLoss"]
)
def test_voxels_to_ignore_move_nothing(name: str) -> None:
    logits, target = batch()
    target[:, :2] = IGNORE_INDEX
    loss = by_path(name)
    (gradient,) = torch.autograd.grad(loss(logits, target), logits)
    assert torch.all(gradient[:, :, :2] == 0)
    assert torch.any(gradient[:, :, 2:] != 0)
    changed = logits.detach().clone()
    changed[:, :, :2] += 3
    torch.testing.assert_close(loss(changed, target), loss(logits, target))


def test_torchs_losses_get_class_indices() -> None:
    logits, target = batch()
    found = by_path("torch.nn:CrossEntropyLoss", label_smoothing=0.1)(logits, target)
    own = torch.nn.CrossEntropyLoss(label_smoothing=0.1)
    torch.testing.assert_close(found, own(logits, target.long()))


def test_a_loss_without_an_activation_gets_probabilities() -> None:
    loss = by_path("monai.losses:AsymmetricUnifiedFocalLoss", num_classes=2)
    assert "probabilities" in loss.assumed


def test_finished_objects_are_asked_what_they_take() -> None:
    logits, target = batch()
    expected = monai.losses.DiceLoss(to_onehot_y=True, softmax=True)(
        logits, target.long()[:, None]
    )
    for one_hot in (True, False):
        own = monai.losses.DiceLoss(to_onehot_y=one_hot, softmax=True)
        found = by_path(plugins.give(own))(logits, target)
        torch.testing.assert_close(found, expected)
    plain = torch.nn.CrossEntropyLoss(ignore_index=IGNORE_INDEX)
    found = by_path(plugins.give(plain))(logits, target)
    torch.testing.assert_close(found, plain(logits, target.long()))


def test_what_is_no_segmentation_loss_is_told_so() -> None:
    logits, target = batch()
    with pytest.raises(PluginError, match="expected one number, found shape"):
        by_path("monai.losses:DiceLoss", reduction="none")(logits, target)
    with pytest.raises(PluginError, match=r"cannot use logits .2, 3, 8, 8, 8. with"):
        by_path("monai.losses:SSIMLoss", spatial_dims=3)(logits, target)
    with pytest.raises(PluginError, match="cannot be built with gama"):
        by_path("monai.losses:FocalLoss", gama=2)
    with pytest.raises(PluginError, match="choose a loss with a sigmoid"):
        by_path("torch.nn:CrossEntropyLoss", regions=REGIONS)


def test_numbers_that_are_none_are_seen() -> None:
    logits, target = batch()
    target[:, :2] = IGNORE_INDEX
    broken = logits.detach().clone()
    broken[0, 0, 0] = float("nan")
    assert not torch.isfinite(by_path("monai.losses:DiceLoss")(broken, target))
