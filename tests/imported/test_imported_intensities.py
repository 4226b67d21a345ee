"""What imported models do to intensities, in the words of medseg's plan.

Predicting goes by the recipe; fine-tuning and export go by the plan.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai_bundles import BEFORE, config_of, write_bundle
from nnunet_folders import Example

from medseg.conversion.recipe import normalization_in_words
from medseg.imported.bundle import read_bundle
from medseg.imported.nnunet import channel_plan, read_nnunet
from medseg.inference.nnunet.preprocess import normalize as normalize_as_nnunet
from medseg.nnunet_recipe import NnUNetChannel
from medseg.preparation.normalization import normalize
from medseg.runs.parent import open_parent
from medseg.settings import parse_settings
from medseg.training.settings import InitSettings

SCHEMES: dict[str, dict[str, Any]] = {
    "CTNormalization": {"mean": 40.0, "std": 35.0, "low": -20.0, "high": 190.0},
    "ZScoreNormalization": {},
    "NoNormalization": {},
    "RescaleTo01Normalization": {},
    "RGBTo01Normalization": {},
}


@pytest.fixture
def voxels() -> np.ndarray:
    found = np.random.default_rng(4).uniform(3, 250, size=(1, 6, 5, 4))
    return found.astype(np.float32)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_schemes_of_nnunet(scheme: str, voxels: np.ndarray) -> None:
    settings = parse_settings(
        NnUNetChannel, {"scheme": scheme, **SCHEMES[scheme]}, source="test"
    )
    wanted = voxels.copy()
    normalize_as_nnunet(wanted[0], settings, inside=None, name="test")
    found = normalize(voxels, (channel_plan("x", settings),))
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_zscore_of_the_inside(voxels: np.ndarray) -> None:
    voxels[0, :2] = 0
    settings = NnUNetChannel(scheme="ZScoreNormalization", use_mask=True)
    wanted = voxels.copy()
    normalize_as_nnunet(wanted[0], settings, inside=voxels[0] != 0, name="test")
    found = normalize(voxels, (channel_plan("x", settings),))
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("scheme", "words"),
    [
        ("RescaleTo01Normalization", "smallest intensity becomes 0, its largest 1"),
        ("RGBTo01Normalization", r"clip to \(0.0, 255.0\), subtract 0, divide by 255"),
    ],
)
def test_model_folders_say_it_and_older_ones_are_read_so(
    scheme: str, words: str, tmp_path: Path
) -> None:
    changes = {"normalization_schemes": [scheme]}
    source = Example(channels=("red",), changes=changes).write(tmp_path / "source")
    (channel,) = read_nnunet(source).models[0].plan.channels
    assert channel.usual_range == (0.0, 1.0)
    assert re.search(words, normalization_in_words(channel))
    init = parse_settings(InitSettings, {"model": str(source)}, source="test")
    parent = open_parent(init, tmp_path / "run")
    assert parent is not None
    assert parent.record.plan.channels == (channel,)


SCALED: dict[str, tuple[str, str, dict[str, Any]]] = {
    "HU in a window": (
        "ct",
        "ScaleIntensityRanged",
        {"a_min": 20, "a_max": 200, "b_min": 0, "b_max": 1, "clip": True},
    ),
    "HU without clipping": (
        "ct",
        "ScaleIntensityRanged",
        {"a_min": 20, "a_max": 200, "b_min": -1, "b_max": 1, "clip": False},
    ),
    "counts in a window": (
        "fixed",
        "ScaleIntensityRanged",
        {"a_min": 0, "a_max": 255, "b_min": 0, "b_max": 1, "clip": True},
    ),
    "smallest to largest": ("minmax", "ScaleIntensityd", {}),
    "percentiles": (
        "percentile",
        "ScaleIntensityRangePercentilesd",
        {"lower": 1, "upper": 99, "b_min": 0, "b_max": 1},
    ),
    "z-score": ("zscore", "NormalizeIntensityd", {"nonzero": True}),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SCALED)
def test_transforms_of_bundles(name: str, voxels: np.ndarray, tmp_path: Path) -> None:
    from monai import transforms

    word, transform, args = SCALED[name]
    load, first, orient, space, _, kind = BEFORE
    scaled = {"_target_": transform, "keys": "image", **args}
    config = config_of(before=[load, first, orient, space, scaled, kind])
    modality = "CT" if word == "ct" else "MR"
    write_bundle(tmp_path / "bundle", config, modality=modality)
    (channel,) = read_bundle(tmp_path / "bundle").models[0].plan.channels
    assert channel.normalization == word
    step = getattr(transforms, transform)(keys="image", **args)
    wanted = step({"image": torch.from_numpy(voxels.copy())})["image"]
    found = normalize(voxels, (channel,))
    np.testing.assert_allclose(found, np.asarray(wanted), rtol=1e-4, atol=1e-5)
