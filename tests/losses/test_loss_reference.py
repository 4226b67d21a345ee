"""Every loss of sums, on every path, against formulas written anew in float64."""

import pytest
import torch
from pydantic import TypeAdapter
from reference_losses import reference_loss

from medseg.losses import DeepSupervisionLoss, LossSettings, build_loss

PATHS = ["chunks", "whole", "triton"]
NESTED = ((1, 2), (2,))
SPECS = [
    {"name": "ce"},
    {"name": "focal"},
    {"name": "focal", "gamma": 0.5},
    {"name": "focal", "activation": "sigmoid", "gamma": 1.5},
    {"name": "dice"},
    {"name": "dice", "batch": True, "empty": "skip"},
    {"name": "dice", "squared": True, "include_background": True},
    {"name": "jaccard", "smooth_nr": 1.0, "smooth_dr": 2.0},
    {"name": "generalized_dice"},
    {"name": "generalized_dice", "batch": True, "volume_weight": "simple"},
    {"name": "generalized_dice", "volume_weight": "uniform"},
    {"name": "tversky"},
    {"name": "focal_tversky", "batch": True},
    {"name": "dice_ce", "dice_weight": 0.7, "ce_weight": 1.3},
    {"name": "dice_focal", "focal_weight": 0.5, "empty": "skip"},
    {"name": "dice_focal", "activation": "sigmoid", "squared": True},
]
WEIGHTED = [
    {"name": "ce"},
    {"name": "dice_ce", "batch": True},
    {"name": "dice_focal", "gamma": 1.0},
    {"name": "dice_focal", "activation": "sigmoid"},
]


def check(spec, logits, target, *, path, num_classes, regions=(), tolerance=1e-5):
    """Values and gradients are equal, the latter to a share of the largest."""
    settings = TypeAdapter(LossSettings).validate_python(spec)
    loss = build_loss(settings, num_classes=num_classes, regions=regions, engine=path)
    mine, other = (logits.detach().clone().requires_grad_() for _ in range(2))
    value = loss(mine, target)
    expected = reference_loss(other, target, regions=regions, **spec)
    assert value.item() == pytest.approx(expected.item(), rel=tolerance, abs=tolerance)
    value.backward()
    expected.backward()
    assert mine.grad.dtype == logits.dtype
    bound = max(tolerance, 2 * torch.finfo(logits.dtype).eps * (logits.itemsize < 4))
    largest = other.grad.double().abs().max()
    assert (mine.grad.double() - other.grad.double()).abs().max() <= bound * largest


def case(
    num_classes, channels=None, *, shape=(6, 5, 7), dtype=torch.float32, ignore=True
):
    """Logits and labels; the last class is empty, the first sample mostly class 0."""
    generator = torch.Generator().manual_seed(num_classes)
    channels = channels or num_classes
    logits = 3 * torch.randn(2, channels, *shape, generator=generator)
    labels = torch.randint(0, max(1, num_classes - 1), (2, *shape), generator=generator)
    labels[0, 1:] = 0
    if ignore:
        labels[1, 2] = 255
    return logits.to(dtype), labels.to(torch.uint8)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_classes(spec, path):
    check(spec, *case(4), path=path, num_classes=4)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_regions(spec, path):
    if spec.get("activation") == "sigmoid":
        spec = {**spec, "activation": "softmax"}
    check(spec, *case(3, 2), path=path, num_classes=3, regions=NESTED)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("spec", WEIGHTED, ids=str)
def test_class_weights(spec, path):
    logits, target = case(3)
    check(
        {**spec, "class_weights": (1.0, 0.0, 2.5)},
        logits,
        target,
        path=path,
        num_classes=3,
    )
    check(
        {**spec, "class_weights": (0.5, 2.0)},
        logits[:, :2],
        target,
        path=path,
        num_classes=3,
        regions=NESTED,
    )


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("num_classes", [2, 9, 33, 118, 200])
@pytest.mark.parametrize("name", ["dice_ce", "dice_focal", "focal_tversky"])
def test_few_and_many_classes(name, num_classes, path):
    logits, target = case(num_classes, shape=(6, 7))
    check({"name": name}, logits, target, path=path, num_classes=num_classes)


@pytest.mark.parametrize("path", PATHS)
def test_one_region(path):
    logits, target = case(2, 1)
    check(
        {"name": "dice_ce"}, logits, target, path=path, num_classes=2, regions=((1,),)
    )


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("regions", [(), NESTED])
def test_half_precision_is_read_as_it_is(regions, dtype, path):
    logits, target = case(3, len(regions) or 3, dtype=dtype)
    spec = {"name": "dice_ce"}
    check(spec, logits, target, path=path, num_classes=3, regions=regions)


@pytest.mark.parametrize("path", PATHS)
def test_a_class_left_out_may_be_nowhere_at_all(path):
    """Neither in the reference nor predicted, and nothing added to the ratio."""
    logits, target = case(3)
    logits[:, 2] = -1e4
    options = {"smooth_nr": 0.0, "smooth_dr": 0.0, "empty": "skip"}
    check({"name": "dice", **options}, logits, target, path=path, num_classes=3)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", ["dice_ce", "dice_focal", "generalized_dice"])
def test_nothing_but_ignored_voxels(name, path):
    logits, target = case(3)
    loss = build_loss(
        TypeAdapter(LossSettings).validate_python({"name": name}),
        num_classes=3,
        engine=path,
    )
    logits.requires_grad_()
    value = loss(logits, torch.full_like(target, 255))
    value.backward()
    assert value.isfinite()
    assert (logits.grad == 0).all()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("regions", [(), NESTED])
def test_several_outputs_are_the_weighted_mean_of_each(regions, path):
    """Of resolutions 1, 1/2 and a third of one axis that does not divide."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(8, 6, 10), (4, 6, 5), (4, 3, 3)]
    channels = len(regions) or 3
    outputs = [
        torch.randn(2, channels, *shape, generator=generator) for shape in shapes
    ]
    target = torch.randint(0, 3, (2, 8, 6, 10), generator=generator)
    target[1, 3:6] = 255
    spec = {"name": "dice_ce", "batch": True}
    loss = build_loss(
        TypeAdapter(LossSettings).validate_python(spec),
        num_classes=3,
        regions=regions,
        engine=path,
    )
    mine = [z.clone().requires_grad_() for z in outputs]
    value = DeepSupervisionLoss(loss)(mine, target)
    other = [z.clone().requires_grad_() for z in outputs]
    picked = [
        [
            [int((n + 0.5) * old / new) for n in range(new)]
            for old, new in zip(target.shape[1:], shape, strict=True)
        ]
        for shape in shapes
    ]
    terms = [
        0.5**level
        * reference_loss(z, target[:, i][:, :, j][:, :, :, k], regions=regions, **spec)
        for level, (z, (i, j, k)) in enumerate(zip(other, picked, strict=True))
    ]
    expected = sum(terms) / 1.75
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)
    value.backward()
    expected.backward()
    for ours, theirs in zip(mine, other, strict=True):
        bound = 1e-5 * theirs.grad.abs().max()
        assert (ours.grad - theirs.grad).abs().max() <= bound
