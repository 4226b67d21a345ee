"""What stands out no more than noise is taken away, and nothing else."""

import numpy as np
import pytest
import torch
from torch import nn

from medseg.inference.objects import without_faint_objects
from medseg.inference.predictor import Predictor
from medseg.inference.settings import InferenceSettings
from medseg.labels import LabelScheme
from medseg.plan import Plan
from medseg.preparation.normalization import FaintPicture
from medseg.volume import LabelMap, Volume

CELLS = LabelScheme(names={"cell": 1}, instances=True)
CLASSES = LabelScheme(names={"small": 7, "large": 3}, ignore=9)
FAINT = FaintPicture(spread=20, expected=50, contrasts=(10.0,))


def picture(*contrasts: float) -> tuple[np.ndarray, np.ndarray]:
    """A row of squares on a ground of 100, and their numbers."""
    voxels = np.full((1, 6, 6 * len(contrasts), 1), 100.0)
    numbers = np.zeros(voxels.shape[1:], np.uint16)
    for number, contrast in enumerate(contrasts, 1):
        start = 6 * number - 4
        voxels[0, 2:4, start : start + 2] += contrast
        numbers[2:4, start : start + 2] = number
    return voxels, numbers


def test_faint_cells_go_and_clear_ones_are_numbered_anew():
    voxels, numbers = picture(2, 12, -3, -30)
    found, note = without_faint_objects(
        LabelMap(numbers, np.eye(4)), voxels, FAINT, CELLS
    )
    expected = np.array([0, 0, 1, 0, 2])[numbers]
    assert np.array_equal(found.voxels, expected)
    assert "2 objects were no clearer than noise and taken away" in note


def test_parts_of_structures_go_and_keep_their_values():
    voxels, numbers = picture(2, 12, 15)
    values = np.array([0, 7, 3, 7], np.uint8)[numbers]
    values[0, 0] = 9  # ignored
    found, note = without_faint_objects(
        LabelMap(values, np.eye(4)), voxels, FAINT, CLASSES
    )
    expected = np.array([0, 0, 3, 7])[numbers]
    expected[0, 0] = 9
    assert np.array_equal(found.voxels, expected)
    assert "1 object was" in note


@pytest.mark.parametrize("contrasts", [(10.0,), (0.0,)])
def test_nothing_else_is_touched(contrasts):
    voxels, numbers = picture(12, -12)
    found, note = without_faint_objects(
        LabelMap(numbers, np.eye(4)), voxels, FaintPicture(20, 50, contrasts), CELLS
    )
    assert np.array_equal(found.voxels, numbers)
    assert "taken away" not in note


def test_an_empty_prediction_stays_empty():
    voxels, numbers = picture(12)
    nothing = LabelMap(np.zeros_like(numbers), np.eye(4))
    found, _ = without_faint_objects(nothing, voxels, FAINT, CELLS)
    assert not found.voxels.any()


class Bright(nn.Module):
    """Calls bright whatever lies above the mean of its window, as a network that
    normalises each instance would."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        score = x.mean(1, keepdim=True) - x.mean(dim=(1, 2, 3), keepdim=True)
        return torch.cat([torch.zeros_like(score), score], 1)


@pytest.mark.parametrize(("bright", "expected"), [(0, 0), (34, 100), (150, 100)])
def test_predictions_of_empty_pictures_are_empty(bright, expected):
    channel = {"name": "grey", "normalization": "percentile", "least_range": 40}
    plan = Plan.model_validate(
        {
            "name": "pictures",
            "spatial_dims": 2,
            "reorient": False,
            "target_spacing": (1, 1, 0),
            "channels": [channel | {"least_contrast": 15}],
            "labels": {"names": {"cell": 1}},
            "patch_size": (32, 32),
            "batch_size": 1,
            "network": {"name": "unet"},
        }
    )
    voxels = np.random.default_rng(0).integers(20, 26, (1, 32, 32, 1)).astype(float)
    voxels[0, 5:15, 5:15] += bright
    notes: list[str] = []
    forward = Bright()
    found = Predictor(
        nn.Identity(), plan, torch.device("cpu"), InferenceSettings(), forward=forward
    ).predict(Volume(voxels, np.eye(4)), notes=notes)
    assert int(found.voxels.sum()) == expected
    assert any("it may show nothing" in note for note in notes) == (bright < 40)
