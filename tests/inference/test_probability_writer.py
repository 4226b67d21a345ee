"""Probabilities come out on the scan's grid, and agree with the labels."""

from dataclasses import replace
from pathlib import Path

import blosc2
import numpy as np
import pytest
import torch
from small_networks import CPU, TURNS, plan, random_network
from whole_volume import axis_weights, interpolate

from medseg.errors import OutputError
from medseg.geometry import affine_from_spacing
from medseg.inference.predictor import Predictor
from medseg.inference.probability_writer import probability_file
from medseg.inference.settings import InferenceSettings
from medseg.labels import LabelScheme
from medseg.preparation import preprocess
from medseg.volume import Volume


def scan(turn: np.ndarray) -> Volume:
    affine = affine_from_spacing((1.0, 1.0, 1.0))
    affine[:3, :3] = turn
    values = np.random.default_rng(0).normal(size=(1, 14, 12, 10))
    return Volume(values.astype(np.float32), affine)


@pytest.mark.parametrize("turn", TURNS, ids=["ras", "flipped", "permuted"])
@pytest.mark.parametrize("spacing", [1.0, 0.8])
def test_probabilities_are_the_softmax_of_interpolated_logits(
    turn: np.ndarray, spacing: float, tmp_path: Path
) -> None:
    made = plan((spacing,) * 3, (8, 8, 8), 3)
    predictor = Predictor(
        random_network(3, 3), made, CPU, InferenceSettings(overlap=0.5)
    )
    path = tmp_path / "p.b2nd"
    labels = predictor.predict(scan(turn), probabilities=path)
    found = blosc2.open(str(path))[:]
    assert found.dtype == np.float16
    assert found.shape == (3, *labels.voxels.shape)
    prepared = preprocess(scan(turn), made)
    logits = predictor.logits(prepared.image)
    if prepared.placement.is_resampled:
        logits = interpolate(logits, axis_weights(prepared.placement))
    expected = logits.softmax(dim=0).numpy()
    turned = prepared.placement.reorientation.undo(expected)
    assert np.allclose(found, turned, atol=2e-3)
    plain = predictor.predict(scan(turn))
    assert np.array_equal(labels.voxels, plain.voxels)


def test_regions_have_a_sigmoid_each(tmp_path: Path) -> None:
    regions = {"all": ("s1", "s2"), "core": ("s2",)}
    made = plan((1.0, 1.0, 1.0), (8, 8, 8), 3)
    scheme = LabelScheme(names=made.labels.names, regions=regions)
    made = made.model_copy(update={"labels": scheme})
    predictor = Predictor(random_network(3, 2), made, CPU, InferenceSettings())
    predictor.predict(scan(TURNS[0]), probabilities=tmp_path / "p.b2nd")
    found = torch.from_numpy(blosc2.open(str(tmp_path / "p.b2nd"))[:]).float()
    logits = predictor.logits(preprocess(scan(TURNS[0]), made).image)
    assert torch.allclose(found, torch.sigmoid(logits), atol=2e-3)


@pytest.mark.parametrize("turn", TURNS, ids=["ras", "flipped", "permuted"])
@pytest.mark.parametrize("depth", [1, 3, 4])
def test_layers_of_any_depth_hold_the_same(
    turn: np.ndarray, depth: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = plan((0.8, 0.8, 0.8), (8, 8, 8), 3)
    network = random_network(3, 3)
    predictor = Predictor(network, made, CPU, InferenceSettings(overlap=0.5))
    predictor.predict(scan(turn), probabilities=tmp_path / "one.b2nd")
    monkeypatch.setattr("medseg.inference.probability_writer.LAYER_DEPTH", depth)
    monkeypatch.setattr("medseg.inference.probability_writer.CHUNK_WIDTH", 5)
    predictor.predict(scan(turn), probabilities=tmp_path / "other.b2nd")
    one, other = (
        blosc2.open(str(tmp_path / name))[:] for name in ("one.b2nd", "other.b2nd")
    )
    assert np.array_equal(one, other)


def test_what_was_cropped_away_is_certain_background(tmp_path: Path) -> None:
    made = plan((1.0, 1.0, 1.0), (8, 8, 8), 3)
    volume = scan(TURNS[1])
    whole = preprocess(volume, made).placement
    placement = replace(whole, crop=((2, 9), (0, 12), (3, 10)))
    with probability_file(tmp_path / "p.b2nd", placement, made.labels) as file:
        place = (slice(0, 7), slice(0, 12), slice(0, 7))
        file.put(place, np.full((3, 7, 12, 7), 0.25, np.float16), axis=2)
    found = whole.reorientation.apply(blosc2.open(str(tmp_path / "p.b2nd"))[:])
    assert (found[:, 2:9, :, 3:10] == 0.25).all()
    assert (found[0] == 1).sum() == found[0].size - 7 * 12 * 7


def test_a_full_disk_is_named_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("Error while setting the slice")

    monkeypatch.setattr("blosc2.NDArray.__setitem__", fails)
    made = plan((1.0, 1.0, 1.0), (8, 8, 8), 3)
    predictor = Predictor(random_network(3, 3), made, CPU, InferenceSettings())
    with pytest.raises(OutputError, match="the disk may be full"):
        predictor.predict(scan(TURNS[0]), probabilities=tmp_path / "p.b2nd")
    assert not list(tmp_path.iterdir())
