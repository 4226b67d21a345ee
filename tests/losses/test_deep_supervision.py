import pytest
import torch

from medseg.losses import DeepSupervisionLoss, build_loss
from medseg.losses.settings import DiceCESettings
from medseg.losses.targets import subsample


def outputs():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, 3, n, n, generator=generator) for n in (8, 4, 2)]


def target():
    return torch.arange(128).view(2, 8, 8) % 3


def test_a_single_tensor_is_passed_on():
    loss = build_loss(DiceCESettings(), num_classes=3)
    logits = outputs()[0]
    assert DeepSupervisionLoss(loss)(logits, target()) == loss(logits, target())


def test_weights_halve_and_sum_to_one():
    wrapped = DeepSupervisionLoss(lambda z, t: z.new_tensor(float(z.shape[-1])))
    assert wrapped(outputs(), target()).item() == pytest.approx(
        (8 + 4 / 2 + 2 / 4) / (1 + 1 / 2 + 1 / 4)
    )


def test_outputs_beyond_the_weights_and_with_weight_zero_are_left_out():
    wrapped = DeepSupervisionLoss(
        lambda z, t: z.new_tensor(float(z.shape[-1])), weights=(3, 0)
    )
    assert wrapped(outputs(), target()).item() == 8


def test_target_is_picked_not_mixed():
    labels = torch.tensor([[0, 1, 2, 3, 4, 5]])
    assert subsample(labels, (3,)).tolist() == [[1, 3, 5]]
    assert subsample(labels, (2,)).tolist() == [[1, 4]]
    assert subsample(labels, (6,)).tolist() == labels.tolist()


def test_every_output_gets_a_gradient():
    logits = [z.requires_grad_() for z in outputs()]
    loss = DeepSupervisionLoss(build_loss(DiceCESettings(), num_classes=3))
    loss(logits, target().to(torch.uint8)).backward()
    assert all(z.grad.abs().sum() > 0 for z in logits)
