"""Scales of pictures and models that do not know each other's."""

import numpy as np
import pytest

from medseg.geometry import affine_from_spacing
from medseg.plan import Plan
from medseg.prediction.pixel_scale import at_training_scale
from medseg.volume import Volume


def picture(size: tuple[float, float]) -> Volume:
    return Volume(np.zeros((1, 8, 9, 1)), affine_from_spacing((*size, 1.0)))


@pytest.mark.parametrize(
    ("trained", "own", "taken"),
    [
        ((1.0, 1.0), (0.0005, 0.0005), (1.0, 1.0)),  # PNG, then a microscope's TIFF
        ((0.0005, 0.0004), (1.0, 1.0), (0.0005, 0.0004)),  # the other way round
        ((0.0005, 0.0005), (0.001, 0.001), (0.001, 0.001)),  # resampled, as always
        ((1.0, 1.0), (1.0, 1.0), (1.0, 1.0)),
        ((1.0, 1.0), (0.5, 0.5), (0.5, 0.5)),  # slices of a CT
        ((0.7, 0.7), (1.0, 1.0), (1.0, 1.0)),
        ((0.0, 0.0), (1.0, 1.0), (1.0, 1.0)),
    ],
)
def test_only_a_size_that_one_of_both_does_not_know_is_taken(
    small_plan: Plan, trained, own, taken
) -> None:
    flat = {"spatial_dims": 2, "target_spacing": (*trained, 0.0)}
    plan = small_plan.model_copy(update=flat)
    notes: list[str] = []
    found = at_training_scale(picture(own), plan, notes=notes)
    assert found.grid.spacing[:2] == pytest.approx(taken)
    assert bool(notes) == (taken != own)
    solid = plan.model_copy(update={"spatial_dims": 3})
    assert at_training_scale(picture(own), solid, notes=[]).grid.spacing[:2] == own
