"""Road scenes: colours, palette label maps with an ignored rim, through to a model."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medseg.datasets import load_dataset
from medseg.datasets.doctor import examine
from medseg.inference.settings import InferenceSettings
from medseg.io import read_label_map, read_volume, write_volume
from medseg.prediction.predict import predict
from medseg.runs.config import RunConfig
from medseg.runs.train import train
from medseg.testing.tiny_roads import (
    LABELS,
    RIM,
    coloured,
    make_tiny_roads,
    road_scene,
    with_rim,
)
from medseg.volume import Volume


@pytest.fixture(scope="module")
def roads(tmp_path_factory) -> Path:
    return make_tiny_roads(tmp_path_factory.mktemp("roads"), num_scenes=6)


def test_label_maps_are_palette_pictures_of_the_classes_and_a_rim(roads: Path) -> None:
    with Image.open(roads / "labels" / "scene_00.png") as picture:
        assert picture.mode == "P"
        values = set(np.unique(np.array(picture)).tolist())
    assert values == {0, *LABELS.values(), RIM}
    labels = road_scene((96, 64), generator=np.random.default_rng([0, 0]))
    read = read_label_map(roads / "labels" / "scene_00.png").voxels[..., 0]
    np.testing.assert_array_equal(read, with_rim(labels))


def test_a_rim_lies_on_both_sides_of_every_border() -> None:
    labels = np.zeros((6, 5), np.uint8)
    labels[3:] = 2
    expected = labels.copy()
    expected[2:4] = RIM
    np.testing.assert_array_equal(with_rim(labels), expected)


def test_doctor_finds_nothing_and_frames_of_a_drive_stay_together(roads: Path) -> None:
    data = load_dataset(roads)
    assert data.scheme.ignore == RIM
    assert data.channels == ("red", "green", "blue")
    assert len({case.patient_id for case in data.cases}) == 3
    assert [x for x in examine(roads).findings if x.severity == "error"] == []


def test_scenes_are_learnt_and_a_video_is_segmented_frame_by_frame(
    roads: Path, tmp_path: Path
) -> None:
    network = {"name": "unet", "channels": [8, 16], "strides": [1, 2]}
    config = RunConfig.model_validate(
        {
            "data": roads,
            "prepare": {"spatial_dims": 2, "num_folds": 3},
            "plan": {"batch_size": 4, "patch_size": [64, 64], "network": network},
            "training": {"steps": 60, "validation_cases": 1, "precision": "float32"},
            "metrics": {"distances": False},
            "inference": {"engine": "torch", "precision": "float32"},
            "tracking": {"enabled": False},
        }
    )
    train(config, tmp_path / "run", device="cpu")
    scene = np.random.default_rng(5)
    truth = [road_scene((96, 64), generator=scene) for _ in range(3)]
    frames = np.stack([coloured(x, generator=scene) for x in truth], axis=-1)
    write_volume(tmp_path / "video" / "drive.tif", Volume(frames, np.eye(4)))
    predict(
        tmp_path / "run",
        tmp_path / "video",
        tmp_path / "out",
        settings=InferenceSettings(engine="torch", precision="float32", overlap=0.5),
        device="cpu",
    )
    found = read_label_map(tmp_path / "out" / "drive.tif").voxels
    assert found.shape == (96, 64, 3)
    assert set(np.unique(found)) <= {0, *LABELS.values()}  # the rim is never predicted
    for time, labels in enumerate(truth):
        road = (found[..., time] == 1, labels == 1)
        assert 2 * (road[0] & road[1]).sum() / (road[0].sum() + road[1].sum()) > 0.6


def test_an_animated_png_is_read_as_frames(tmp_path: Path) -> None:
    frames = [np.full((4, 6, 3), 40 * n, np.uint8) for n in range(1, 4)]
    first, *others = map(Image.fromarray, frames)
    first.save(tmp_path / "a.png", save_all=True, append_images=others)
    volume = read_volume(tmp_path / "a.png")
    assert volume.voxels.shape == (3, 6, 4, 3)
    assert volume.voxels[0, 0, 0].tolist() == [40, 80, 120]
