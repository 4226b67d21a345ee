"""Values that MONAI's public test-suite expects of its losses, expected of ours too.

Source: github.com/Project-MONAI/MONAI, tests/losses/test_dice_loss.py,
test_dice_ce_loss.py, test_focal_loss.py, test_tversky_loss.py and
test_generalized_dice_loss.py (Apache-2.0). Inputs and expected values are theirs. Left
out is what medseg's losses do not take: other activations than softmax and sigmoid,
probabilities and soft labels in place of logits and label maps, the unreduced form.
"""

import pytest
import torch

from medseg.losses import build_loss
from medseg.losses.fused import Channels, FusedLoss
from medseg.losses.settings import (
    CESettings,
    DiceCESettings,
    DiceFocalSettings,
    DiceSettings,
    FocalSettings,
    GeneralizedDiceSettings,
    TverskySettings,
)
from medseg.losses.terms import ChannelTerm, Terms

ONE_REGION = ((1,),)
CROSS = torch.tensor([[[[1.0, -1.0], [-1.0, 1.0]]]])
CROSS_TARGET = torch.tensor([[[1, 0], [1, 1]]])
TWO_CROSSES = CROSS.repeat(2, 1, 1, 1)
TWO_TARGETS = torch.tensor([[[1, 1], [1, 1]], [[1, 0], [1, 0]]])
PAIR = torch.tensor([[[-1.0, 0.0, 1.0], [1.0, 0.0, -1.0]], [[0.0] * 3, [0.0] * 3]])
PAIR_TARGET = torch.tensor([[1, 0, 0], [1, 1, 0]])
CERTAIN = torch.tensor(
    [[[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]], [[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]]
)
CERTAIN_TARGET = torch.tensor([[0, 0, 1], [0, 1, 0]])
HALF_CERTAIN = CERTAIN.clone()
HALF_CERTAIN[0, 0, :2] = 100
COLUMNS = torch.tensor([[[[1.0, 1.0], [0.5, 0.0]]]]).repeat(1, 3, 1, 1)
COLUMNS_TARGET = torch.tensor([[[0, 1], [2, 0]]])
EACH = ((0,), (1,))
MILLI = {"smooth_nr": 1e-4, "smooth_dr": 1e-4}
MICRO = {"smooth_nr": 1e-6, "smooth_dr": 1e-6}
NONE = {"smooth_nr": 0.0, "smooth_dr": 0.0}


@pytest.mark.parametrize(
    ("settings", "logits", "target", "regions", "expected"),
    [
        (DiceSettings(**MICRO), CROSS, CROSS_TARGET, ONE_REGION, 0.307576),
        (DiceSettings(**MILLI), TWO_CROSSES, TWO_TARGETS, ONE_REGION, 0.416657),
        (DiceSettings(**NONE), 1e3 * CERTAIN, CERTAIN_TARGET, (), 0.0),
        (DiceSettings(**MILLI), PAIR, PAIR_TARGET, EACH, 0.435050),
        (
            DiceSettings(include_background=True, **MILLI),
            PAIR,
            PAIR_TARGET,
            (),
            0.383713,
        ),
        (DiceSettings(squared=True), CROSS, CROSS_TARGET, ONE_REGION, 0.178337),
        (DiceSettings(jaccard=True), CROSS, CROSS_TARGET, ONE_REGION, 0.470451),
    ],
)
def test_dice(settings, logits, target, regions, expected):
    loss = build_loss(settings, num_classes=2, regions=regions)
    assert loss(logits, target).item() == pytest.approx(expected, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize(
    ("weights", "ce_weight", "logits", "expected"),
    [
        (None, 1.0, CERTAIN, 0.3133),
        ((1.0, 1.0), 1.0, HALF_CERTAIN, 0.2088),
        ((1.0, 1.0), 2.0, HALF_CERTAIN, 0.4176),
        ((0.0, 1.0), 1.0, HALF_CERTAIN, 0.3133),
    ],
)
def test_cross_entropy_in_dice_ce(weights, ce_weight, logits, expected):
    """Their Dice is 0 here, as it takes these logits for probabilities."""
    settings = DiceCESettings(
        class_weights=weights, ce_weight=ce_weight, dice_weight=0.0
    )
    loss = build_loss(settings, num_classes=2)(logits, CERTAIN_TARGET)
    assert loss.item() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"activation": "sigmoid"}, 0.34959),
        ({"activation": "softmax"}, 0.16276),
        ({"activation": "softmax", "class_weights": (0.2, 0.8, 0.8)}, 0.08138),
    ],
)
def test_focal(options, expected):
    loss = build_loss(FocalSettings(**options), num_classes=3)
    assert loss(COLUMNS, COLUMNS_TARGET).item() == pytest.approx(expected, abs=1e-4)


def test_focal_without_background():
    term = ChannelTerm(2.0, first_class=1)
    loss = FusedLoss(Channels(3), Terms(channel=term))
    assert loss(COLUMNS, COLUMNS_TARGET).item() == pytest.approx(0.36498, abs=1e-4)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_focal_of_perfect_logits(activation):
    target = torch.tensor([[[0, 0, 0, 0], [0, 1, 2, 0], [0, 3, 4, 0], [0, 0, 0, 0]]])
    perfect = 1000 * torch.nn.functional.one_hot(target, 6).movedim(-1, 1) - 500.0
    loss = build_loss(FocalSettings(activation=activation), num_classes=6)
    assert loss(perfect, target).item() == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("focal_weight", [0.5, 1.0, 1.5])
@pytest.mark.parametrize("weights", [None, (1.0, 1.0, 2.0), (3.0, 2.0, 1.0)])
def test_dice_focal_is_the_sum(activation, focal_weight, weights):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 3, 5, 5, generator=generator)
    target = torch.randint(0, 2, (3, 5, 5), generator=generator)
    both = DiceFocalSettings(
        activation=activation,
        focal_weight=focal_weight,
        class_weights=weights,
        gamma=1.0,
    )
    focal = FocalSettings(activation=activation, class_weights=weights, gamma=1.0)
    values = [
        build_loss(settings, num_classes=3)(logits, target).item()
        for settings in (both, DiceSettings(class_weights=weights), focal)
    ]
    assert values[0] == pytest.approx(values[1] + focal_weight * values[2], rel=1e-5)


HALVES = {"alpha": 0.5, "beta": 0.5}


@pytest.mark.parametrize(
    ("options", "logits", "target", "regions", "expected"),
    [
        ({**HALVES, **MICRO}, CROSS, CROSS_TARGET, ONE_REGION, 0.307576),
        ({**HALVES, **MILLI}, TWO_CROSSES, TWO_TARGETS, ONE_REGION, 0.416657),
        ({**HALVES, **NONE}, 1e3 * CERTAIN, CERTAIN_TARGET, (), 0.0),
        (
            {**HALVES, "smooth_nr": 0.0, "smooth_dr": 1e-3},
            1e3 * CERTAIN,
            CERTAIN_TARGET,
            (),
            0.000999,
        ),
        ({**HALVES, **MILLI}, PAIR, PAIR_TARGET, EACH, 0.435050),
        ({**HALVES, "batch": True}, PAIR, PAIR_TARGET, EACH, 0.422979),
        (
            {**HALVES, **MILLI, "include_background": True},
            PAIR,
            PAIR_TARGET,
            (),
            (0.210961 + 0.295339 + 0.599952 + 0.428547) / 4,
        ),
        ({"alpha": 0.3, "beta": 0.7, **MICRO}, CROSS, CROSS_TARGET, ONE_REGION, 0.3589),
        (
            {"alpha": 0.7, "beta": 0.3, **MICRO},
            CROSS,
            CROSS_TARGET,
            ONE_REGION,
            0.247366,
        ),
    ],
)
def test_tversky(options, logits, target, regions, expected):
    loss = build_loss(TverskySettings(**options), num_classes=2, regions=regions)
    assert loss(logits, target).item() == pytest.approx(expected, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize(
    ("options", "logits", "target", "regions", "expected"),
    [
        (MICRO, CROSS, CROSS_TARGET, ONE_REGION, 0.307576),
        (MILLI, TWO_CROSSES, TWO_TARGETS, ONE_REGION, 0.416597),
        ({**NONE, "include_background": False}, 1e3 * CERTAIN, CERTAIN_TARGET, (), 0.0),
        (MILLI, PAIR, PAIR_TARGET, EACH, 0.469964),
        (MILLI, PAIR, PAIR_TARGET, (), 0.414507),
        (
            {**NONE, "volume_weight": "simple"},
            torch.tensor([[[0.0, 10.0, 10.0, 10.0], [10.0, 0.0, 0.0, 0.0]]]),
            torch.tensor([[1, 1, 0, 0]]),
            (),
            0.250023,
        ),
        (
            {"include_background": False, "smooth_nr": 1e-8, "smooth_dr": 1e-8},
            1e3 * CERTAIN,
            torch.zeros(2, 3, dtype=torch.long),
            (),
            0.0,
        ),
    ],
)
def test_generalized_dice(options, logits, target, regions, expected):
    settings = GeneralizedDiceSettings(**options)
    loss = build_loss(settings, num_classes=2, regions=regions)
    assert loss(logits, target).item() == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_focal_with_gamma_zero_is_cross_entropy():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 10, 8, 4, generator=generator)
    target = torch.randint(0, 10, (4, 8, 4), generator=generator)
    focal = build_loss(FocalSettings(gamma=0.0), num_classes=10)(logits, target)
    entropy = build_loss(CESettings(), num_classes=10)(logits, target)
    assert 10 * focal.item() == pytest.approx(entropy.item(), rel=1e-5)
