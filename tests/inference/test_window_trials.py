"""Windows are chosen by what they change, once for a model."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_networks import CPU, UNET, Pointwise, plan, random_network

from medseg.inference.predictor import Predictor
from medseg.inference.settings import InferenceSettings
from medseg.inference.window_book import FILE, WindowBook
from medseg.inference.window_trials import around, mean_difference, try_windows
from medseg.networks.build import build_network

IMAGE = np.random.default_rng(0).normal(size=(1, 60, 50, 40)).astype(np.float32)
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
    outcome = try_windows(predictor(Pointwise()), IMAGE)
    assert outcome is not None
    assert (outcome.windows.overlap, outcome.difference) == (0.125, 0)
    assert outcome.reason == "the network is not one of ours"


def test_the_reference_is_kept_where_nothing_else_does() -> None:
    outcome = try_windows(predictor(Positional()), IMAGE)
    assert outcome is not None
    assert outcome.windows.overlap == 0.5
    assert [trial.windows.overlap for trial in outcome.trials] == [0.125, 0.25, 0.375]
    assert all(trial.difference > 0.002 for trial in outcome.trials)


def test_a_scan_without_structures_decides_nothing() -> None:
    assert try_windows(predictor(Pointwise()), IMAGE * 0) is None


def test_batch_normalized_networks_are_cut_exactly() -> None:
    torch.manual_seed(0)
    small = UNET.model_copy(update={"channels": (3, 4), "strides": (1, 2)})
    network = build_network(small, spatial_dims=3, in_channels=1, out_channels=3)
    made = replace(predictor(network.eval()), plan=plan((1, 1, 1), (32, 32, 32), 3))
    outcome = try_windows(made, IMAGE, epsilon=0.2)
    assert outcome is not None
    assert outcome.windows.exact is not None
    chosen = replace(made, choose=lambda *_: outcome.windows)
    with torch.no_grad():
        whole = network(torch.from_numpy(IMAGE).unsqueeze(0))[0]
    assert torch.allclose(chosen.logits(IMAGE), whole, atol=1e-4)


def test_the_choice_is_measured_once_and_kept(tmp_path: Path) -> None:
    book = WindowBook([tmp_path / FILE], weights="abc")
    notes: list[str] = []
    asked = replace(predictor(Pointwise()), choose=book)
    first = asked.predict_prepared(IMAGE)
    content = json.loads((tmp_path / FILE).read_text())
    assert content["chosen"]["overlap"] == 0.125
    again = WindowBook([tmp_path / FILE], weights="abc")
    assert again(asked, IMAGE * 0, notes).overlap == 0.125
    assert notes == []
    assert np.array_equal(first, predictor(Pointwise()).predict_prepared(IMAGE))


def test_mirror_images_have_a_choice_of_their_own(tmp_path: Path) -> None:
    place = tmp_path / FILE
    plain = predictor(Pointwise())
    mirrored = predictor(Pointwise(), flips=True)
    WindowBook([place], weights="abc")(plain, IMAGE, [])
    content = place.read_bytes()
    notes: list[str] = []
    WindowBook([place], weights="abc")(mirrored, IMAGE, notes)
    assert "chosen for this model" in notes[0]
    assert place.read_bytes() == content
    record = json.loads((tmp_path / "windows_flips.json").read_text())
    assert record["flips"]
    place.write_text(json.dumps(record))  # of the other kind: measured again
    WindowBook([place], weights="abc")(plain, IMAGE, notes)
    assert len(notes) == 2


def test_a_place_that_cannot_be_written_and_other_weights_are_no_error(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_text("in the way")
    places = [tmp_path / "file" / FILE, tmp_path / "cache" / FILE]
    notes: list[str] = []
    asked = predictor(Pointwise())
    assert WindowBook(places, weights="abc")(asked, IMAGE, notes).overlap == 0.125
    assert "16 x 16 x 16, overlap 0.125; 1 - Dice" in notes[0]
    assert places[1].is_file()
    other = WindowBook(places[1:], weights="xyz")
    assert other(asked, IMAGE * 0, []).overlap == 0.5


def test_a_number_is_taken_as_it_is() -> None:
    def never(*_: Any) -> Any:
        raise AssertionError

    plain = predictor(random_network(3, 3), overlap=0.25)
    labels = replace(plain, choose=never).predict_prepared(IMAGE)
    np.testing.assert_array_equal(labels, plain.predict_prepared(IMAGE))


def test_ranges_lie_within_the_axis() -> None:
    assert around(1, 8, 20) == slice(0, 8)
    assert around(19, 8, 20) == slice(12, 20)
    assert around(5, 30, 20) == slice(0, 20)
