"""What a case does not annotate: read, refused, prepared, trained on, scored.

The data set has two sites: both show a ball with a kernel; site B outlined the kernel
alone. What is expected follows from how the files were made.
"""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from medseg.augmentation.settings import AugmentationSettings
from medseg.calibration.postprocessing import choose_postprocessing
from medseg.datasets import Dataset, load_dataset
from medseg.datasets.doctor import examine
from medseg.datasets.manifest import write_manifest
from medseg.errors import DatasetError
from medseg.evaluation import score_case
from medseg.evaluation.pairs import CasePair
from medseg.io import read_label_map, write_label_map
from medseg.labels import LabelScheme
from medseg.preparation import prepare
from medseg.sampling import PatchSampler, SamplingSettings
from medseg.scoring.evaluate import evaluate
from medseg.store import Store
from medseg.testing.tiny_study import make_tiny_study
from medseg.training.batches import BatchSource
from medseg.volume import LabelMap

NAMES = tuple(f"tiny_{number:03d}" for number in range(6))
SITE_B = NAMES[3:]


def two_sites(folder: Path, header: str = "not_annotated", cell: str = "ball") -> Path:
    """Six cases with a manifest; in the last three nobody outlined the ball."""
    make_tiny_study(folder, shape=(12, 14, 10))
    (folder / "cases.csv").unlink()
    lines = [f"case_id,patient_id,image,label,{header}"]
    for name in NAMES:
        files = f"imagesTr/{name}.nii.gz,labelsTr/{name}.nii.gz"
        lines.append(f"{name},{name},{files},{cell if name in SITE_B else ''}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    (folder / "dataset.yaml").write_text("labels: {ball: 1, kernel: 2}\n")
    for name in SITE_B:
        path = folder / "labelsTr" / f"{name}.nii.gz"
        label = read_label_map(path)
        voxels = np.where(label.voxels == 2, label.voxels, 0)
        write_label_map(path, LabelMap(voxels, label.affine))
    return folder


def partly(dataset: Dataset) -> dict[str, tuple[str, ...]]:
    cases = (*dataset.cases, *dataset.test_cases)
    return {c.case_id: c.unannotated for c in cases if c.unannotated}


EXPECTED = dict.fromkeys(SITE_B, ("ball",))


@pytest.mark.parametrize(
    ("header", "cell"),
    [
        ("not_annotated", "ball"),
        ("annotated_structures", "kernel"),
        ("Not Annotated", " ball ;"),
    ],
)
def test_a_table_names_what_is_not_annotated(tmp_path, header, cell):
    study = load_dataset(two_sites(tmp_path / "s", header, cell))
    assert partly(study) == EXPECTED
    assert "3 do not annotate all structures" in study.describe()
    write_manifest(tmp_path / "s" / "again.csv", study)
    assert partly(load_dataset(tmp_path / "s" / "again.csv")) == EXPECTED


def test_a_table_beside_another_layout_names_it_too(tmp_path):
    folder = two_sites(tmp_path / "s")
    (folder / "manifest.csv").unlink()
    rows = "\n".join(f"{name},ball" for name in SITE_B)
    (folder / "cases.csv").write_text(f"case_id,not_annotated\n{rows}\n")
    assert partly(load_dataset(folder)) == EXPECTED


def test_the_list_in_a_segmentation_says_it(tmp_path):
    folder = two_sites(tmp_path / "s", "note", "")
    table = (folder / "manifest.csv").read_text()
    for number, name in enumerate(NAMES):
        label = read_label_map(folder / "labelsTr" / f"{name}.nii.gz").voxels
        head = ["NRRD0004", "type: uchar", "dimension: 3", "sizes: 12 14 10"]
        head += ["space: right-anterior-superior", "space origin: (0,0,0)"]
        head += ["space directions: (1,0,0) (0,1,0) (0,0,1.5)", "encoding: raw"]
        listed = ["kernel"] if name in SITE_B else ["ball", "kernel"]
        if number == 0:
            label = np.zeros_like(label)  # both are listed, neither has a voxel
        for place, structure in enumerate(listed):
            value = {"ball": 1, "kernel": 2}[structure]
            head += [
                f"Segment{place}_Name:={structure}",
                f"Segment{place}_LabelValue:={value}",
            ]
        body = label.astype(np.uint8).tobytes(order="F")
        path = folder / "labelsTr" / f"{name}.seg.nrrd"
        path.write_bytes(("\n".join(head) + "\n\n").encode() + body)
    (folder / "manifest.csv").write_text(table.replace(".nii.gz,\n", ".seg.nrrd,\n"))
    assert partly(load_dataset(folder)) == EXPECTED


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("bal", r"said not to annotate 'bal', which is no structure \(nearest: ball\)"),
        ("ball;kernel", "annotates none of the structures"),
        ("ball, kernel", "said not to annotate 'ball, kernel'"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(tmp_path, cell, message):
    cell = f'"{cell}"'
    with pytest.raises(DatasetError, match=f"tiny_003: .*{message}"):
        load_dataset(two_sites(tmp_path / "s", cell=cell))


def test_a_label_map_that_says_otherwise_is_refused_and_found(tmp_path):
    folder = two_sites(tmp_path / "s", cell="kernel")
    (report,) = {finding.message for finding in examine(folder).findings}
    assert report == "holds kernel, which the case is said not to annotate"
    with pytest.raises(DatasetError, match=r"tiny_003.*voxels of kernel, which the"):
        prepare(load_dataset(folder), tmp_path / "store", workers=1)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = two_sites(tmp_path_factory.mktemp("sites") / "s")
    return prepare(load_dataset(folder), folder.parent / "store", workers=1)


def test_the_store_keeps_it(store):
    found = {name: store.unannotated(name) for name in store.case_ids}
    assert found == {name: EXPECTED.get(name, ()) for name in NAMES}
    assert store.case(SITE_B[0]).unannotated == (1,)


def test_a_case_is_prepared_anew_where_the_table_changes(tmp_path):
    folder = two_sites(tmp_path / "s", cell="")
    first = prepare(load_dataset(folder), tmp_path / "store", workers=1)
    assert not any(first.unannotated(name) for name in NAMES)
    table = (folder / "manifest.csv").read_text()
    (folder / "manifest.csv").write_text(
        table.replace("tiny_004.nii.gz,\n", "tiny_004.nii.gz,ball\n")
    )
    again = prepare(load_dataset(folder), tmp_path / "store", workers=1)
    marked = [name for name in NAMES if again.unannotated(name)]
    assert marked == ["tiny_004"]
    assert first.manifest_hash != again.manifest_hash


def test_batches_say_which_classes_a_patch_does_not_annotate(store):
    plan = store.plan.replaced(patch_size=(8, 8, 8), batch_size=4)
    cases = [store.case(name) for name in NAMES]
    sampler = PatchSampler(
        cases, patch_size=plan.patch_size, settings=SamplingSettings(), seed=0
    )
    batches = BatchSource(
        cases,
        sampler,
        plan=plan,
        augmentation=AugmentationSettings(),
        seed=0,
        device=torch.device("cpu"),
    )
    seen = set()
    for _ in range(8):
        batch = batches.next()
        expected = [[False, name in SITE_B, False] for name in batch.case_ids]
        if not any(map(any, expected)):
            assert batch.unannotated is None
        else:
            assert batch.unannotated.tolist() == expected
        seen |= set(batch.case_ids)
    assert seen & set(SITE_B)


def predict_truth(out: Path) -> Path:
    """Both structures wherever site A would have drawn them."""
    truth = make_tiny_study(out.parent / "truth", shape=(12, 14, 10))
    shutil.copytree(truth / "labelsTr", out)
    return out


def test_evaluate_scores_what_is_annotated_alone(tmp_path):
    folder = two_sites(tmp_path / "s")
    predictions = predict_truth(tmp_path / "predictions")
    evaluate(predictions, folder, tmp_path / "out", pictures=0)
    rows = pd.read_csv(tmp_path / "out" / "cases.csv")
    found = {(row.case_id, row.structure): row.dice for row in rows.itertuples()}
    expected = {(name, "kernel"): 1.0 for name in NAMES}
    expected |= {(name, "ball"): 1.0 for name in NAMES if name not in SITE_B}
    assert found == expected
    summary = pd.read_csv(tmp_path / "out" / "summary.csv").set_index(
        ["structure", "metric"]
    )
    assert summary.loc[("ball", "dice"), "n"] == 3
    assert summary.loc[("kernel", "dice"), "n"] == 6


def test_regions_with_an_unannotated_member_get_no_row():
    voxels = np.zeros((6, 6, 6), np.uint8)
    voxels[:3] = 2
    label_map = LabelMap(voxels, np.eye(4))
    regions = {"whole": ("ball", "kernel"), "core": ("kernel",)}
    scheme = LabelScheme(names={"ball": 1, "kernel": 2}, regions=regions)
    rows = score_case(label_map, label_map, scheme, unannotated=("ball",))
    assert [row.structure for row in rows] == ["kernel", "core"]
    rows = score_case(label_map, label_map, scheme, unannotated=("kernel",))
    assert [row.structure for row in rows] == ["ball"]


def test_no_rule_is_chosen_by_cases_that_do_not_annotate_its_structure(tmp_path):
    """In site B every predicted ball looks like a false positive."""
    folder, predictions = two_sites(tmp_path / "s"), predict_truth(tmp_path / "p")
    scheme = LabelScheme(names={"ball": 1, "kernel": 2})
    pairs = [
        CasePair(
            f"{name}_{copy}",
            predictions / f"{name}.nii.gz",
            folder / "labelsTr" / f"{name}.nii.gz",
            f"{name}_{copy}",
            ("ball",),
        )
        for name in SITE_B
        for copy in range(8)
    ]
    assert choose_postprocessing(pairs, scheme) == ()
    unmarked = [replace(pair, unannotated=()) for pair in pairs]
    (rule,) = choose_postprocessing(unmarked, scheme)
    assert rule.structure == "ball"


def test_cases_in_no_split_and_held_out_ones_are_read_and_scored_alike(tmp_path):
    folder = two_sites(tmp_path / "s")
    rows = (folder / "manifest.csv").read_text().splitlines()
    parts = ["split", "train", "val", "", "train", "", "test"]
    (folder / "manifest.csv").write_text(
        "\n".join(f"{row},{part}" for row, part in zip(rows, parts, strict=True))
    )
    study = load_dataset(folder)
    assert [case.case_id for case in study.unlisted_cases] == [NAMES[2], NAMES[4]]
    assert study.case(NAMES[4]).unannotated == ("ball",)
    assert study.case(NAMES[5]).unannotated == ("ball",)
    predictions = predict_truth(tmp_path / "predictions")
    evaluate(predictions, folder, tmp_path / "out", pictures=0)
    rows = pd.read_csv(tmp_path / "out" / "cases.csv")
    assert sorted(rows["case_id"][rows["structure"] == "kernel"]) == list(NAMES)
    assert sorted(rows["case_id"][rows["structure"] == "ball"]) == list(NAMES[:3])
