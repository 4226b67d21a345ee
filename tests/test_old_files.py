"""What an earlier medseg wrote stays readable: stores, runs, model folders."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from predict_phantoms import Predict

from medseg.inference.settings import InferenceSettings
from medseg.io import read_label_map
from medseg.model import load_model
from medseg.runs.config import RunConfig
from medseg.runs.fit_report import sampling_stats_of
from medseg.settings import load_settings
from medseg.store import Store
from medseg.studies.comparison import read_scores
from medseg.training.checkpoint import load_checkpoint

SOURCE = Path(__file__).parent / "data" / "medseg_0.1"
REFERENCE = InferenceSettings(
    engine="torch", precision="float32", overlap=0.5, roi="all"
)

IDENTITY = "c68c1879c646ea14148b9276917235fdecb57cf0d2a91d07e6b23af4752d5026"
"""Of the run's data, plan and settings, as its checkpoint names it."""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The old files, copied, with the data set where they say."""
    folder = tmp_path / "old"
    shutil.copytree(SOURCE, folder)
    summary = folder / "store" / "store.json"
    text = summary.read_text(encoding="utf-8")
    summary.write_text(text.replace("STUDY", os.fspath(folder / "study")), "utf-8")
    return folder


def test_a_store_opens_with_its_plan_splits_and_cases(old: Path) -> None:
    store = Store.open(old / "store")
    assert store.case_ids == ("tiny_000", "tiny_001", "tiny_002")
    assert store.split(0) == (("tiny_002",), ("tiny_000", "tiny_001"))
    assert store.plan.labels.structures == ("ball", "kernel")
    assert store.fingerprint.num_cases == 3
    case = store.case("tiny_001")
    image = case.read_image()
    assert image.shape == (1, *case.shape)
    assert image.std() == pytest.approx(1, abs=0.1)
    assert set(np.unique(case.read_label())) == {0, 1, 2}
    assert all(path.is_file() for path in store.images("tiny_001"))


def test_a_model_gives_the_label_maps_that_it_gave(
    old: Path, call: Predict, tmp_path: Path
) -> None:
    call(old / "run", old / "study" / "imagesTr", tmp_path / "out", settings=REFERENCE)
    for expected in sorted((old / "predictions").glob("*.nii.gz")):
        found = read_label_map(tmp_path / "out" / expected.name)
        np.testing.assert_array_equal(found.voxels, read_label_map(expected).voxels)


def test_a_model_that_was_never_calibrated_takes_the_reference_windows(
    old: Path, call: Predict, tmp_path: Path
) -> None:
    assert load_model(old / "run").windows is None
    auto = REFERENCE.model_copy(update={"overlap": "auto"})
    call(old / "run", old / "study" / "imagesTr", tmp_path / "out", settings=auto)
    for expected in sorted((old / "predictions").glob("*.nii.gz")):
        found = read_label_map(tmp_path / "out" / expected.name)
        np.testing.assert_array_equal(found.voxels, read_label_map(expected).voxels)


def test_a_runs_configuration_scores_and_checkpoint_are_read(old: Path) -> None:
    config = load_settings(RunConfig, old / "run" / "config.yaml")
    assert config.training.steps == 2
    seen = sampling_stats_of({"old": old / "run"})
    assert seen is not None
    assert {"ball", "kernel"} <= set(seen["structure"])
    scores = read_scores(old / "run" / "validation", name="old")
    assert set(scores["structure"]) == {"ball", "kernel"}
    assert load_checkpoint(old / "run", identity=IDENTITY)["step"] == 2
