"""Losses on partly annotated cases: against sums over classes written out by hand.

The expected values sum probabilities voxel by voxel in plain Python or numpy, as the
marginal loss is defined; nothing of the merging of logits is used.
"""

import math

import numpy as np
import pytest
import torch

from medseg.losses import build_loss
from medseg.losses.deep_supervision import DeepSupervisionLoss, SegmentationAndPresence
from medseg.losses.settings import LossSettings
from medseg.losses.targets import PartialLabelLoss
from medseg.settings import Settings, parse_settings

NAMES = [
    "ce", "topk_ce", "focal", "dice", "jaccard", "generalized_dice", "tversky",
    "focal_tversky", "dice_ce", "dice_focal", "boundary", "cldice", "separation",
]  # fmt: skip
REGIONAL = ["ce", "focal", "dice", "jaccard", "tversky", "dice_ce", "dice_focal"]


class _Holder(Settings):
    loss: LossSettings


def loss_of(name: str, **options: object) -> torch.nn.Module:
    holder = parse_settings(_Holder, {"loss": {"name": name, **options}})
    return build_loss(holder.loss, num_classes=4)


def region_loss(name: str) -> torch.nn.Module:
    holder = parse_settings(_Holder, {"loss": {"name": name}})
    return build_loss(holder.loss, num_classes=4, regions=REGIONS)


REGIONS = ((1, 2), (2,), (3,))


def problem(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Two patches of four classes; the second's case annotates neither 1 nor 3."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(2, 4, 6, 6, generator=generator)
    target = torch.randint(0, 4, (2, 6, 6), generator=generator)
    target[1][target[1] != 2] = 0
    target[0, 0, 0] = 255
    unannotated = torch.tensor([[False] * 4, [False, True, False, True]])
    return logits, target.to(torch.uint8), unannotated


def test_cross_entropy_is_that_of_summed_probabilities():
    logits, target, unannotated = problem()
    found = PartialLabelLoss(loss_of("ce"))(logits, target, unannotated)
    terms = []
    for n, i, j in np.ndindex(2, 6, 6):
        label = int(target[n, i, j])
        if label == 255:
            continue
        z = [math.exp(float(v)) for v in logits[n, :, i, j]]
        allowed = [label]
        if label == 0:
            allowed += [c for c in range(4) if unannotated[n, c]]
        terms.append(-math.log(sum(z[c] for c in allowed) / sum(z)))
    assert float(found) == pytest.approx(sum(terms) / len(terms), rel=1e-5)


def test_dice_is_that_of_annotated_structures_alone():
    logits, target, unannotated = problem()
    loss = loss_of("dice", smooth_nr=0.0, smooth_dr=0.0, empty="skip")
    found = PartialLabelLoss(loss)(logits, target, unannotated)
    p = np.exp(logits.numpy()) / np.exp(logits.numpy()).sum(axis=1, keepdims=True)
    counted = (target != 255).numpy()
    terms = []
    for n, c in [(0, 1), (0, 2), (0, 3), (1, 2)]:
        t = (target[n] == c).numpy()
        q = p[n, c] * counted[n]
        terms.append(1 - 2 * (q * t).sum() / (q.sum() + t.sum()))
    assert float(found) == pytest.approx(np.mean(terms), rel=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_where_an_unannotated_structure_is_predicted_changes_nothing(name):
    logits, target, unannotated = problem()
    loss = PartialLabelLoss(loss_of(name))
    before = loss(logits, target, unannotated)
    moved = logits.clone()
    swapped = logits[1].clone()  # background and both unknown classes trade places
    swapped[[0, 1, 3]] = logits[1][[3, 0, 1]]
    moved[1] = swapped
    torch.testing.assert_close(loss(moved, target, unannotated), before)
    other = logits.clone()
    other[1] = logits[1][[2, 0, 1, 3]]
    assert not torch.isclose(loss(other, target, unannotated), before)


@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_is_that_of_small_changes(name):
    logits, target, unannotated = problem(3)
    loss = PartialLabelLoss(loss_of(name))
    logits.requires_grad_()
    loss(logits, target, unannotated).backward()
    step = 2e-2
    for place in [(1, 0, 2, 3), (1, 1, 2, 3), (1, 3, 4, 4), (0, 1, 3, 3)]:
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                shifted = logits.clone()
                shifted[place] += sign * step
                values.append(float(loss(shifted, target, unannotated)))
        slope = (values[0] - values[1]) / (2 * step)
        if name == "topk_ce" or name == "cldice":
            continue  # kinks: which voxels count, and where the skeleton runs
        assert float(logits.grad[place]) == pytest.approx(slope, abs=2e-4)


@pytest.mark.parametrize("name", NAMES)
def test_complete_cases_are_scored_as_before(name):
    logits, target, _ = problem()
    plain = loss_of(name)
    expected = plain(logits, target)
    nothing = torch.zeros(2, 4, dtype=torch.bool)
    assert torch.equal(PartialLabelLoss(plain)(logits, target), expected)
    torch.testing.assert_close(
        PartialLabelLoss(plain)(logits, target, nothing), expected
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_logit_that_is_no_number_is_seen_in_every_channel(name, value):
    logits, target, unannotated = problem()
    for channel in range(4):
        broken = logits.clone()
        broken[1, channel, 3, 3] = value
        assert not torch.isfinite(
            PartialLabelLoss(loss_of(name))(broken, target, unannotated)
        )


@pytest.mark.parametrize("name", REGIONAL)
def test_a_region_with_an_unannotated_member_counts_where_it_is_known(name):
    logits, target, unannotated = problem()
    logits = logits[:, :3]
    loss = PartialLabelLoss(region_loss(name), regions=REGIONS)
    before = loss(logits, target, unannotated)
    moved = logits.clone()
    unknown = target[1] == 0  # of region 0 (classes 1, 2) and region 2 (class 3)
    moved[1, 0][unknown] += 3.0
    moved[1, 2] += torch.where(target[1] == 2, 0.0, -2.0)
    torch.testing.assert_close(loss(moved, target, unannotated), before)
    for channel, where in ((0, ~unknown), (1, unknown), (1, ~unknown)):
        other = logits.clone()
        other[1, channel][where] += 3.0
        assert not torch.isclose(loss(other, target, unannotated), before)


def test_every_output_of_deep_supervision_is_merged():
    logits, target, unannotated = problem()
    outputs = [logits, logits[..., ::2, ::2]]
    loss = PartialLabelLoss(DeepSupervisionLoss(loss_of("ce")))
    before = loss(outputs, target, unannotated)
    moved = [z.clone() for z in outputs]
    for z in moved:
        z[1, [0, 1, 3]] = z[1, [3, 0, 1]].clone()
    torch.testing.assert_close(loss(moved, target, unannotated), before)


@pytest.mark.parametrize("regions", [(), REGIONS])
def test_presence_of_what_is_not_annotated_is_not_asked(regions):
    logits, target, unannotated = problem()
    if regions:
        logits = logits[:, :3]
    answers = torch.randn(2, logits.shape[1], requires_grad=True)
    loss = SegmentationAndPresence(
        PartialLabelLoss(
            region_loss("ce") if regions else loss_of("ce"), regions=regions
        ),
        num_classes=4,
        regions=regions,
    )
    loss((logits, answers), target, unannotated).backward()
    asked = answers.grad != 0
    # of the second patch: class 2 and the background, or regions {1, 2} (2 is there)
    # and {2}, are known
    expected = [True, True, False] if regions else [True, False, True, False]
    assert asked[0].all()
    assert asked[1].tolist() == expected
