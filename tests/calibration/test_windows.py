"""Windows are calibrated by what they change, once for a model."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from small_networks import CPU, UNET, Pointwise, plan, random_network

from medseg.calibration.windows import (
    around,
    calibrate_windows,
    joint_windows,
    mean_difference,
    windows_for,
)
from medseg.inference.predictor import Predictor
from medseg.inference.settings import InferenceSettings
from medseg.inference.window_spec import WindowSpec
from medseg.model import CalibratedWindows
from medseg.networks.build import build_network

IMAGE = np.random.default_rng(0).normal(size=(1, 60, 50, 40)).astype(np.float32)
OTHER = np.ascontiguousarray(IMAGE[:, ::-1])
WANTED = plan((1.0, 1.0, 1.0), (16, 16, 16), 3)


class Positional(torch.nn.Module):
    """Answers by where a voxel lies in the window: blending matters."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ramp = torch.linspace(-1, 1, x.shape[2]).reshape(-1, 1, 1) + x * 0
        return torch.cat((torch.zeros_like(x), ramp, -2 * ramp), dim=1)


def predictor(network: torch.nn.Module, **settings: Any) -> Predictor:
    return Predictor(network, WANTED, CPU, InferenceSettings(**settings))


def test_difference_is_the_mean_over_structures_that_are_there() -> None:
    one, other = np.zeros((2, 4, 1, 1), dtype=np.uint8)
    one[:2], other[:1] = 1, 1
    assert mean_difference(one, other, num_classes=4) == pytest.approx(1 / 3)
    assert mean_difference(one * 0, one * 0, num_classes=4) == 0


def test_least_overlap_does_for_a_network_that_looks_at_nothing_else() -> None:
    windows = calibrate_windows(predictor(Pointwise()), [IMAGE])
    assert windows is not None
    assert (windows.overlap, windows.difference, windows.num_scans) == (0.125, 0, 1)
    assert windows.reason == "the network is not one of ours"
    assert "16 x 16 x 16, overlap 0.125; 1 - Dice" in windows.describe()


def test_the_reference_is_kept_where_nothing_else_does() -> None:
    windows = calibrate_windows(predictor(Positional()), [IMAGE])
    assert windows is not None
    assert windows.overlap == 0.5
    assert [trial.overlap for trial in windows.tried] == [0.125, 0.25, 0.375]
    assert all(trial.difference > 0.002 for trial in windows.tried)


def test_scans_without_structures_are_passed_over() -> None:
    empty = IMAGE * 0
    assert calibrate_windows(predictor(Pointwise()), [empty, empty]) is None
    windows = calibrate_windows(predictor(Pointwise()), [empty, IMAGE, OTHER])
    assert windows is not None
    assert windows.num_scans == 2


def test_the_difference_is_the_mean_over_scans() -> None:
    made = predictor(Positional())
    alone = [calibrate_windows(made, [i], epsilon=1) for i in (IMAGE, OTHER)]
    together = calibrate_windows(made, [IMAGE, OTHER], epsilon=1)
    assert together is not None
    differences = [one.difference for one in alone if one is not None]
    assert together.difference == pytest.approx(np.mean(differences))


def test_batch_normalized_networks_are_cut_exactly() -> None:
    torch.manual_seed(0)
    small = UNET.model_copy(update={"channels": (3, 4), "strides": (1, 2)})
    network = build_network(small, spatial_dims=3, in_channels=1, out_channels=3)
    made = replace(predictor(network.eval()), plan=plan((1, 1, 1), (32, 32, 32), 3))
    calibrated = calibrate_windows(made, [IMAGE], epsilon=0.2)
    assert calibrated is not None
    assert calibrated.exact
    windows = windows_for(made, calibrated)
    assert windows is not None
    with torch.no_grad():
        whole = network(torch.from_numpy(IMAGE).unsqueeze(0))[0]
    assert torch.allclose(
        replace(made, windows=windows).logits(IMAGE), whole, atol=1e-4
    )


def test_windows_hold_with_or_without_flips_as_they_were_measured() -> None:
    plain, flipped = predictor(Pointwise()), predictor(Pointwise(), flips=True)
    windows = calibrate_windows(flipped, [IMAGE])
    assert windows is not None
    assert windows.flips
    assert windows_for(plain, windows) is None
    found = windows_for(flipped, windows)
    assert found is not None
    assert found.overlap == 0.125


def test_exact_tiles_need_a_network_that_can_be_cut() -> None:
    exact = CalibratedWindows(size=(16, 16, 16), overlap=0.375, exact=True, epsilon=1)
    assert windows_for(predictor(Pointwise()), exact) is None
    assert windows_for(predictor(Pointwise()), None) is None


def test_a_number_is_taken_as_it_is() -> None:
    plain = predictor(random_network(3, 3), overlap=0.25)
    other = WindowSpec((16, 16, 16), 0.0, divisor=(1, 1, 1))
    labels = replace(plain, windows=other).predict_prepared(IMAGE)
    np.testing.assert_array_equal(labels, plain.predict_prepared(IMAGE))
    auto = predictor(random_network(3, 3))
    assert (replace(auto, windows=other).predict_prepared(IMAGE) != labels).any()


@pytest.mark.parametrize(
    ("others", "overlap"),
    [
        ([{"overlap": 0.375}], 0.375),
        ([{"overlap": 0.125}, {"overlap": 0.25}], 0.25),
        ([None], None),
        ([{"exact": True}], None),
        ([{"size": (32, 16, 16)}], None),
        ([{"flips": True}], None),
    ],
)
def test_networks_together_take_the_largest_overlap_of_one_kind(
    others: list[dict[str, Any] | None], overlap: float | None
) -> None:
    one = CalibratedWindows(size=(16, 16, 16), overlap=0.125, epsilon=0.002)
    known = [other and one.model_copy(update=other) for other in others]
    joint = joint_windows([one, *known])
    assert (joint and joint.overlap) == overlap


def test_ranges_lie_within_the_axis() -> None:
    assert around(1, 8, 20) == slice(0, 8)
    assert around(19, 8, 20) == slice(12, 20)
    assert around(5, 30, 20) == slice(0, 20)
