"""A logit that is no number must be seen in the loss: every loss, on every path."""

import math

import pytest
import torch
from pydantic import TypeAdapter

from medseg.losses import LossSettings, build_loss

pytestmark = [  # what numpy says of the same logits in Triton's interpreter
    pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:All-NaN slice encountered:RuntimeWarning"),
]
NAMES = [
    "ce",
    "topk_ce",
    "focal",
    "dice",
    "jaccard",
    "generalized_dice",
    "tversky",
    "focal_tversky",
    "dice_ce",
    "dice_focal",
    "boundary",
    "cldice",
    "separation",
]
NESTED = ((1, 2), (2,))
LOSSES = [
    *(({"name": name}, ()) for name in NAMES),
    ({"name": "focal", "activation": "sigmoid"}, ()),
    ({"name": "dice_focal", "activation": "sigmoid"}, ()),
    ({"name": "ce", "class_weights": (1.0, 0.0, 1.0)}, ()),
    ({"name": "dice", "empty": "skip"}, ()),
    ({"name": "dice", "squared": True}, ()),
    *(
        ({"name": name}, NESTED)
        for name in NAMES
        if name not in ("topk_ce", "separation")
    ),
    ({"name": "focal", "class_weights": (0.0, 1.0)}, NESTED),
]
KINDS = ["one NaN", "all NaN", "one inf", "NaN where the label is to be ignored"]


PATHS = ["chunks", "whole", "triton"]
"""Every way in which a loss is computed; one that cannot run is a failure."""


def build(spec, regions, path):
    settings = TypeAdapter(LossSettings).validate_python(spec)
    return build_loss(settings, num_classes=3, regions=regions, engine=path)


def case(regions):
    generator = torch.Generator().manual_seed(0)
    channels = len(regions) or 3
    logits = torch.randn(2, channels, 5, 4, 6, generator=generator)
    target = torch.randint(0, 3, (2, 5, 4, 6), generator=generator)
    target[1, 4, 3, 5] = 255
    target[0, 1, 2, 3] = 1
    return logits, target.to(torch.uint8)


def broken(logits, kind, channel):
    result = logits.clone()
    if kind == "all NaN":
        return result.fill_(math.nan)
    if kind == "one NaN":
        result[0, channel, 1, 2, 3] = math.nan
    elif kind == "one inf":
        result[0, channel, 1, 2, 3] = math.inf
    else:
        result[1, channel, 4, 3, 5] = math.nan
    return result


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("spec", "regions"), LOSSES)
def test_no_loss_is_finite_where_a_logit_is_not(spec, regions, kind, path):
    logits, target = case(regions)
    loss = build(spec, regions, path)
    channels = range(logits.shape[1])
    if path == "triton":  # interpreted, slowly
        channels = channels[KINDS.index(kind) % 2 - 1 :][:1]
    for channel in channels:
        value = loss(broken(logits, kind, channel), target)
        assert not value.isfinite(), f"channel {channel}: {value.item()}"


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("spec", "regions"), LOSSES)
def test_every_loss_is_finite_where_all_logits_are(spec, regions, path):
    logits, target = case(regions)
    assert build(spec, regions, path)(logits, target).isfinite()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("spec", "regions"), LOSSES)
def test_minus_infinity_away_from_the_truth_is_probability_0(spec, regions, path):
    """As e^-1000 is 0 in float64: the limit that the formula goes to."""
    logits, target = case(regions)
    target[0, 1, 2, 3] = 0
    logits[0, -1, 1, 2, 3] = -math.inf
    limit = logits.double().clamp_min(-1000)
    loss = build(spec, regions, path)
    assert loss(logits, target).item() == pytest.approx(
        loss(limit, target).item(), rel=1e-5
    )


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", ["ce", "focal", "dice_ce", "dice_focal", "topk_ce"])
def test_minus_infinity_at_the_truth_is_seen_by_cross_entropy_but_not_by_dice(
    name, path
):
    logits, target = case(())
    logits[0, 1, 1, 2, 3] = -math.inf
    assert not build({"name": name}, (), path)(logits, target).isfinite()
    dice = build({"name": "dice"}, (), path)(logits, target)
    limit = build({"name": "dice"}, (), path)(logits.double().clamp_min(-1000), target)
    assert dice.item() == pytest.approx(limit.item(), rel=1e-5)
