"""Splits that a data set came with: the cases drawn in training are exactly `train`.

The expected cases are read from the JSON file or the table by the test itself, and the
cases that training used are read from the draws of its batches, or from a run's ledger
of what was seen; nothing in between is asked.
"""

import json
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from medseg.errors import DatasetError, SettingsError
from medseg.progress import Silent
from medseg.runs.config import RunConfig
from medseg.runs.fit import batches_of
from medseg.runs.setup import set_up_run
from medseg.runs.train import train
from medseg.studies.cross_validate import cross_validate
from medseg.testing.tiny_study import make_tiny_study
from medseg.training.process_group import ProcessGroup

NAMES = tuple(f"tiny_{number:03d}" for number in range(6))
SMALL = {"name": "unet", "channels": [4, 8], "strides": [1, 2]}


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Six cases of six patients in nnU-Net's raw layout."""
    return make_raw(tmp_path / "raw")


def make_raw(folder: Path) -> Path:
    make_tiny_study(folder, shape=(12, 12, 10))
    (folder / "cases.csv").unlink()
    for name in NAMES:
        image = folder / "imagesTr" / f"{name}.nii.gz"
        shutil.move(image, image.with_name(f"{name}_0000.nii.gz"))
    labels = {"background": 0, "ball": 1, "kernel": 2}
    values = {"channel_names": {"0": "MRI"}, "labels": labels, "numTraining": 6}
    values["file_ending"] = ".nii.gz"
    (folder / "dataset.json").write_text(json.dumps(values))
    return folder


def config(data: Path, *, fold: int | None, **training: object) -> RunConfig:
    return RunConfig.model_validate(
        {
            "data": data,
            "fold": fold,
            "plan": {"patch_size": [8, 8, 8], "batch_size": 2, "network": SMALL},
            "training": {"steps": 2, "validation_cases": 1, **training},
            "metrics": {"distances": False},
            "inference": {"engine": "torch", "precision": "float32"},
            "tracking": {"enabled": False},
        }
    )


def drawn(data: Path, out: Path, fold: int | None) -> tuple[set[str], set[str]]:
    """Cases of many batches as training draws them, and the cases held out."""
    device = torch.device("cpu")
    run = set_up_run(
        config(data, fold=fold),
        out,
        device=device,
        processes=ProcessGroup(),
        progress=Silent(),
    )
    batches = batches_of(run)
    draws = [draw for _ in range(12) for draw in batches.next().draws]
    return {draw.case_id for draw in draws}, set(run.held_out)


@st.composite
def random_splits(draw: st.DrawFn) -> list[dict[str, list[str]]]:
    """Splits as an author may write them: overlapping, partial, in any order."""
    splits = []
    for _ in range(draw(st.integers(1, 3))):
        parts = draw(st.lists(st.sampled_from(["train", "val", ""]), min_size=6))
        order = draw(st.permutations(NAMES))
        named = list(zip(order, parts, strict=False))
        splits.append(
            {key: [n for n, p in named if p == key] for key in ("train", "val")}
        )
    return splits


@pytest.fixture(scope="module")
def shared_raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_raw(tmp_path_factory.mktemp("shared") / "raw")


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(splits=random_splits(), data=st.data())
def test_cases_drawn_in_training_are_exactly_those_given(shared_raw, splits, data):
    fold = data.draw(st.integers(0, len(splits) - 1))
    assume(splits[fold]["train"] and splits[fold]["val"])
    (shared_raw / "splits_final.json").write_text(json.dumps(splits))
    trained, held_out = drawn(shared_raw, shared_raw.parent / "run", fold)
    assert trained == set(splits[fold]["train"])
    assert held_out == set(splits[fold]["val"])


def test_without_a_fold_the_listed_cases_are_trained_on(raw):
    first, second, _, fourth, *_ = NAMES
    splits = [{"train": [first], "val": [fourth]}, {"train": [], "val": [second]}]
    (raw / "splits_final.json").write_text(json.dumps(splits))
    trained, held_out = drawn(raw, raw.parent / "run", None)
    assert (trained, held_out) == ({first, second, fourth}, set())


@pytest.mark.slow
def test_a_run_trains_on_the_given_cases_alone(raw, tmp_path):
    splits = [
        {"train": list(NAMES[:2]), "val": [NAMES[4]]},
        {"train": list(NAMES[2:4]), "val": [NAMES[4]]},
    ]
    (raw / "splits_final.json").write_text(json.dumps(splits))
    done = train(config(raw, fold=1, steps=8), tmp_path / "run", device="cpu")
    counts = done.fit.sampling_stats.state_dict()
    assert {name for name, of in counts.items() if of["patches"]} == set(NAMES[2:4])
    assert done.evaluation is not None
    assert [c.pair.case_id for c in done.evaluation.scored] == [NAMES[4]]
    assert NAMES[5] not in done.store.case_ids


def test_splits_of_a_table_reach_training(tmp_path):
    folder = make_tiny_study(tmp_path / "tiny", shape=(12, 12, 10))
    parts = ("train", "val", "", "train", "test", "val")
    rows = [
        f"{n},{n},imagesTr/{n}.nii.gz,labelsTr/{n}.nii.gz,{part}"
        for n, part in zip(NAMES, parts, strict=True)
    ]
    text = "\n".join(["case_id,patient_id,image,label,split", *rows])
    (folder / "manifest.csv").write_text(text)
    (folder / "dataset.yaml").write_text("labels: {ball: 1, kernel: 2}\n")
    trained, held_out = drawn(folder, tmp_path / "run", 0)
    assert (trained, held_out) == ({NAMES[0], NAMES[3]}, {NAMES[1], NAMES[5]})
    with pytest.raises(SettingsError, match=r"no fold 1, only \[0\]"):
        drawn(folder, tmp_path / "run", 1)


@pytest.mark.slow
def test_a_case_that_two_folds_hold_out_is_scored_once(raw, tmp_path):
    splits = [
        {"train": [NAMES[0]], "val": [NAMES[4], NAMES[5]]},
        {"train": [NAMES[1]], "val": [NAMES[5], NAMES[2]]},
    ]
    (raw / "splits_final.json").write_text(json.dumps(splits))
    done = cross_validate(config(raw, fold=None), tmp_path / "all", device="cpu")
    found = [(run.name, case_id) for run, case_id in done.held_out()]
    expected = [("fold0", NAMES[4]), ("fold0", NAMES[5]), ("fold1", NAMES[2])]
    assert found == expected
    assert done.evaluation.num_scored == 3


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (
            {"train": ["tiny_000", "tiny_07"], "val": ["tiny_002"]},
            r"nearest: tiny_00\d",
        ),
        (
            {"train": ["tiny_000"], "val": ["tiny_002", "tiny_000"]},
            "both train and val",
        ),
        ({"train": [], "val": ["tiny_002"]}, "leaves no case to train on"),
        ({"train": ["tiny_000"], "val": []}, "leaves no case to validate"),
    ],
)
def test_splits_that_cannot_be_kept_stop_before_the_work(raw, tmp_path, split, message):
    (raw / "splits_final.json").write_text(json.dumps([split]))
    with pytest.raises((DatasetError, SettingsError), match=message):
        train(config(raw, fold=0), tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def test_a_store_that_keeps_folds_alone_is_read(tiny_store, tmp_path):
    summary = json.loads((tiny_store.folder / "store.json").read_text())
    splits = summary.pop("splits")
    for name, case in summary["cases"].items():
        case["fold"] = next(s["fold"] for s in splits if name in s["val"])
    shutil.copytree(tiny_store.folder, tmp_path / "store")
    (tmp_path / "store" / "store.json").write_text(json.dumps(summary))
    assert type(tiny_store).open(tmp_path / "store").splits == tiny_store.splits
