"""The model says what training mirrored."""

import pytest

from medseg.augmentation.settings import AugmentationSettings
from medseg.plan import Plan
from medseg.runs.resolve import settle_training, with_mirrors
from medseg.training.settings import TrainingSettings


@pytest.mark.parametrize(
    ("augmentation", "axes"),
    [
        (AugmentationSettings(flip_axes=(0,)), (0,)),
        (AugmentationSettings(flip_axes=()), ()),
        (AugmentationSettings(flip_axes=None), None),
        (AugmentationSettings(enabled=False), ()),
    ],
)
def test_axes_are_those_of_the_augmentation(
    small_plan: Plan, augmentation: AugmentationSettings, axes: tuple[int, ...] | None
) -> None:
    settings = TrainingSettings(augmentation=augmentation)
    assert with_mirrors(small_plan, settings).mirror_axes == axes


def test_structures_with_sides_are_not_mirrored(small_plan: Plan) -> None:
    scheme = type(small_plan.labels)(names={"left_lung": 1, "right_lung": 2})
    plan = small_plan.model_copy(update={"labels": scheme})
    settled = settle_training(TrainingSettings(), plan)
    assert with_mirrors(plan, settled).mirror_axes == ()
