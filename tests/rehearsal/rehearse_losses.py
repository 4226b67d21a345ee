"""Every loss runs on a GPU, forward and backward, without waiting for it."""

from typing import Any, get_args

import pytest
import torch
from ceilings import (
    COPIES_OF_TABLES,
    LOSS_LAUNCHES,
    LOSS_LAUNCHES_WITHOUT_TRITON,
    LOSS_WAITS,
    OUTPUTS_LAUNCHES,
)
from fake_gpu import FakeGPU
from pydantic import TypeAdapter

from medseg.labels import IGNORE_INDEX
from medseg.losses import DeepSupervisionLoss, LossSettings, build_loss
from medseg.losses.streaming import has_triton

ADAPTER: TypeAdapter[Any] = TypeAdapter(LossSettings)
KINDS = [
    kind
    for kind in get_args(get_args(LossSettings)[0])
    if isinstance(kind.model_fields["name"].default, str)
]
"""Of the losses that are the project's own."""
NAMES = sorted(kind.model_fields["name"].default for kind in KINDS)
WEIGHTED = sorted(
    kind.model_fields["name"].default
    for kind in KINDS
    if "class_weights" in kind.model_fields
)
WITHOUT_REGIONS = {"ce", "topk_ce", "generalized_dice", "separation"}
REGIONS = ((1, 2), (2,))


def rehearse(
    gpu: FakeGPU,
    *,
    num_classes: int = 3,
    regions: tuple[tuple[int, ...], ...] = (),
    dtype: torch.dtype = torch.float32,
    **settings: Any,
) -> None:
    with gpu:
        chosen = ADAPTER.validate_python(settings)
        loss = build_loss(chosen, num_classes=num_classes, regions=regions).to("cuda")
        channels = len(regions) or num_classes
        logits = torch.randn(2, channels, 16, 16, 16, device="cuda", dtype=dtype)
        logits.requires_grad_()
        target = torch.zeros(2, 16, 16, 16, dtype=torch.uint8, device="cuda")
        target[:, 0] = IGNORE_INDEX
        with gpu.seen.during("loss"):
            loss(logits, target).backward()
        assert logits.grad.shape == logits.shape
        assert logits.grad.device == logits.device


def check(gpu: FakeGPU, name: str, *, copies: int = 0) -> None:
    loss = gpu.seen.parts["loss"]
    allowed = LOSS_WAITS.get(name, 0) + copies
    assert loss.waits.total() <= allowed, gpu.seen.waits("loss")
    ceilings = LOSS_LAUNCHES if has_triton() else LOSS_LAUNCHES_WITHOUT_TRITON
    ceiling = ceilings.get(name, ceilings["any"])
    assert loss.num_launches <= ceiling, loss.describe()


@pytest.mark.parametrize("num_classes", [3, 20])
@pytest.mark.parametrize("name", NAMES)
def test_of_classes(gpu: FakeGPU, name: str, num_classes: int) -> None:
    rehearse(gpu, name=name, num_classes=num_classes)
    check(gpu, name)


@pytest.mark.parametrize("name", WEIGHTED)
def test_with_class_weights(gpu: FakeGPU, name: str) -> None:
    rehearse(gpu, name=name, class_weights=(1, 2, 3))
    check(gpu, name, copies=COPIES_OF_TABLES)


@pytest.mark.parametrize("name", sorted({*NAMES} - WITHOUT_REGIONS))
def test_of_overlapping_regions(gpu: FakeGPU, name: str) -> None:
    rehearse(gpu, name=name, regions=REGIONS)
    check(gpu, name, copies=COPIES_OF_TABLES)


@pytest.mark.parametrize("name", sorted({*WEIGHTED} - WITHOUT_REGIONS))
def test_of_regions_with_class_weights(gpu: FakeGPU, name: str) -> None:
    rehearse(gpu, name=name, regions=REGIONS, class_weights=(1, 2))
    check(gpu, name, copies=COPIES_OF_TABLES)


@pytest.mark.parametrize("name", ["focal", "dice_focal"])
def test_of_channels_by_themselves(gpu: FakeGPU, name: str) -> None:
    rehearse(gpu, name=name, activation="sigmoid")
    check(gpu, name, copies=COPIES_OF_TABLES)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_of_half_precision(gpu: FakeGPU, dtype: torch.dtype) -> None:
    rehearse(gpu, name="dice_ce", dtype=dtype)
    check(gpu, "dice_ce")


@pytest.mark.skipif(not has_triton(), reason="hidden on purpose in this run")
@pytest.mark.parametrize("num_outputs", [1, 5, 12])
@pytest.mark.parametrize("regions", [(), REGIONS])
def test_of_many_samples_and_outputs(
    gpu: FakeGPU, regions: tuple[tuple[int, ...], ...], num_outputs: int
) -> None:
    with gpu:
        chosen = ADAPTER.validate_python({"name": "dice_ce"})
        loss = build_loss(chosen, num_classes=3, regions=regions).to("cuda")
        outputs = [
            torch.randn(9, len(regions) or 3, *(32 - 2 * level,) * 3, device="cuda")
            .bfloat16()
            .requires_grad_()
            for level in range(num_outputs)
        ]
        target = torch.zeros(9, 32, 32, 32, dtype=torch.uint8, device="cuda")
        with gpu.seen.during("loss"):
            DeepSupervisionLoss(loss)(outputs, target).backward()
        assert all(z.grad.dtype == torch.bfloat16 for z in outputs)
    seen = gpu.seen.parts["loss"]
    assert seen.waits.total() == 0, gpu.seen.waits("loss")
    assert seen.num_launches <= OUTPUTS_LAUNCHES, seen.describe()
