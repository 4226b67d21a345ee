"""Presence: known answers for tiny patches."""

import pytest
import torch
from torch import nn

from medseg.losses.deep_supervision import SegmentationAndPresence, present

TARGET = torch.tensor([[[0, 1], [0, 255]], [[2, 2], [2, 2]]])


def test_patch_holds_what_any_voxel_is() -> None:
    found = present(TARGET, num_classes=3)
    assert found.tolist() == [[1, 1, 0], [0, 0, 1]]


def test_region_is_there_if_one_of_its_classes_is() -> None:
    found = present(TARGET, num_classes=3, regions=((1, 2), (2,)))
    assert found.tolist() == [[1, 0], [1, 1]]


def test_both_losses_add_up() -> None:
    loss = SegmentationAndPresence(nn.MSELoss(), num_classes=3, weight=0.5)
    zeros = torch.zeros(2, 3)
    value = loss((TARGET.float(), zeros), TARGET)
    assert float(value) == pytest.approx(0.5 * torch.tensor(2.0).log().item())
    sure = torch.where(present(TARGET, num_classes=3) > 0, 20.0, -20.0)
    assert float(loss((TARGET.float(), sure), TARGET)) < 1e-6
