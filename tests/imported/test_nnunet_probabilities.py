"""Probabilities in exact mode: nnU-Net's own, on the scan's own grid."""

from pathlib import Path
from typing import Any

import blosc2
import numpy as np
import pytest
from nnunet_folders import Example, predict_slowly

from medseg.prediction.segmentation_model import SegmentationModel
from medseg.volume import Volume

SHAPE = (18, 21, 13)


def scan(axes: np.ndarray) -> Volume:
    """Blobs with a margin of zeros, in some orientation."""
    rng = np.random.default_rng(3)
    voxels = rng.normal(50, 8, size=SHAPE).astype(np.float32)
    voxels[5:11, 6:14, 3:9] += 40
    voxels[:2] = voxels[:, -3:] = voxels[:, :, :1] = 0
    return Volume(voxels[None], axes @ np.diag([1.1, 0.9, 1.6, 1.0]))


KINDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "classes": ({}, {}),
    "transposed": (
        {
            "plans": {"transpose_forward": [2, 0, 1], "transpose_backward": [1, 2, 0]},
            "spacing": (0.8, 1.3, 1.0),
            "patch": (8, 10, 12),
            "strides": [[1, 1, 1], [2, 1, 2], [1, 2, 1]],
        },
        {},
    ),
    "regions": (
        {
            "labels": {"background": 0, "whole": [1, 2], "core": [2]},
            "num_outputs": 2,
            "dataset": {"regions_class_order": [1, 2]},
        },
        {"order": [1, 2]},
    ),
}


@pytest.mark.parametrize("name", KINDS)
def test_probabilities_are_those_of_the_logits(name: str, tmp_path: Path) -> None:
    values, options = KINDS[name]
    example = Example(mirror=None, **values)
    volume = scan(np.diag([-1.0, -1.0, 1.0, 1.0]))
    model = SegmentationModel.load(example.write(tmp_path / "model"), device="cpu")
    path = tmp_path / "shares.b2nd"
    label_map = model.segment(volume, probabilities=path).voxels
    found = blosc2.open(str(path))[:].astype(float)
    kept: list[Any] = []
    data = volume.voxels.transpose(0, 3, 2, 1)
    predict_slowly(example, data, (1.6, 0.9, 1.1), scores=kept, **options)
    ((scores, box),) = kept
    whole = np.zeros((len(scores), *(SHAPE[::-1][n] for n in _forward(example))))
    if "order" in options:
        shares = 1 / (1 + np.exp(-scores))
    else:
        shares = np.exp(scores - scores.max(0))
        shares /= shares.sum(0)
        whole[0] = 1
    whole[(slice(None), *box)] = shares
    back = np.argsort(_forward(example)) + 1
    wanted = whole.transpose(0, *back).transpose(0, 3, 2, 1)
    assert found.shape == wanted.shape
    apart = np.abs(found - wanted)  # float16 sums, at the corners of windows too
    assert apart.max() < 0.2
    assert np.quantile(apart, 0.98) < 0.01
    assert wanted.std() > 0.05
    if "order" not in options:
        same = found.argmax(0) == label_map
        assert same.mean() > 0.999
    assert not list(tmp_path.glob("*.part*"))
    again = SegmentationModel.load(tmp_path / "model", device="cpu").segment(volume)
    np.testing.assert_array_equal(again.voxels, label_map)


def _forward(example: Example) -> list[int]:
    return list(example.plans.get("transpose_forward", [0, 1, 2]))
