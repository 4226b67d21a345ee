"""Two sites, of which one outlined the kernel alone: the ball is learnt anyway."""

from pathlib import Path

import numpy as np
import pytest
from small_runs import CPU, run, small_plan

from medseg.datasets import Case, load_dataset
from medseg.datasets.case import Dataset
from medseg.datasets.splits import Split
from medseg.inference.predictor import Predictor
from medseg.io import read_label_map, write_label_map
from medseg.networks.settings import UNetSettings
from medseg.preparation import prepare
from medseg.testing.tiny_study import make_tiny_study
from medseg.training.length import StepLength
from medseg.training.settings import OptimizerSettings, TrainingSettings
from medseg.training.validation import validate
from medseg.volume import LabelMap

NETWORK = UNetSettings(channels=(8, 16, 32), strides=(1, 2, 2))
SITE_A, SITE_B, HELD_OUT = 2, 6, 2
SETTINGS = TrainingSettings(
    precision="float32",
    ema_decay=0.8,
    optimizer=OptimizerSettings(learning_rate=1e-2),
)


def two_sites(folder: Path, *, marked: bool) -> Dataset:
    """Two cases with both structures, six with the kernel alone, two held out."""
    count = SITE_A + SITE_B + HELD_OUT
    study = load_dataset(make_tiny_study(folder, num_cases=count, shape=(20, 20, 16)))
    cases, names = [], [case.case_id for case in study.cases]
    for number, case in enumerate(study.cases):
        missing: tuple[str, ...] = ()
        if SITE_A <= number < SITE_A + SITE_B:
            assert case.label is not None
            label = read_label_map(case.label)
            kernel = np.where(label.voxels == 2, label.voxels, 0)
            write_label_map(case.label, LabelMap(kernel, label.affine))
            missing = ("ball",) if marked else ()
        cases.append(Case(case.case_id, case.case_id, case.images, case.label, missing))
    split = Split(0, tuple(names[:-HELD_OUT]), tuple(names[-HELD_OUT:]))
    return Dataset(
        name="sites",
        root=folder,
        channels=study.channels,
        scheme=study.scheme,
        cases=tuple(cases),
        splits=(split,),
    )


def ball_dice(folder: Path, *, marked: bool) -> float:
    store = prepare(
        two_sites(folder / "data", marked=marked), folder / "store", workers=1
    )
    length = StepLength(60)
    result = run(store, folder / "run", length, settings=SETTINGS, network=NETWORK)
    predictor = Predictor(
        result.network, small_plan(store, dims=3, network=NETWORK), CPU
    )
    held_out = [store.case(name) for name in store.split(0)[1]]
    return validate(predictor, held_out)["dice/ball"]


@pytest.mark.slow
def test_what_one_site_did_not_annotate_is_learnt_from_the_other(tmp_path: Path):
    marked = ball_dice(tmp_path / "marked", marked=True)
    unmarked = ball_dice(tmp_path / "unmarked", marked=False)
    assert marked > 0.7
    assert marked > unmarked + 0.2
