"""Probabilities come out on the scan's grid, and agree with the labels."""

from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_streaming import CPU, TURNS, plan, random_network
from whole_volume import axis_weights, interpolate

from medseg.errors import OutputError
from medseg.geometry import affine_from_spacing
from medseg.inference.predictor import Predictor
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
    path = tmp_path / "p.npy"
    labels = predictor.predict(scan(turn), probabilities=path)
    found = np.load(path, mmap_mode="r")
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
    predictor.predict(scan(TURNS[0]), probabilities=tmp_path / "p.npy")
    found = torch.from_numpy(np.load(tmp_path / "p.npy")).float()
    logits = predictor.logits(preprocess(scan(TURNS[0]), made).image)
    assert torch.allclose(found, torch.sigmoid(logits), atol=2e-3)


def test_a_disk_too_small_is_refused_before_anything_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(1, 1, 100))
    made = plan((1.0, 1.0, 1.0), (8, 8, 8), 3)
    predictor = Predictor(random_network(3, 3), made, CPU, InferenceSettings())
    with pytest.raises(OutputError, match="probabilities take 1m, the disk has"):
        replace(predictor).predict(scan(TURNS[0]), probabilities=tmp_path / "p.npy")
    assert not list(tmp_path.iterdir())
