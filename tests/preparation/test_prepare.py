import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from medseg.datasets import load_dataset
from medseg.errors import DatasetError, OutputError, StoreError
from medseg.io import read_label_map, read_volume
from medseg.placement import restore
from medseg.plan import read_plan, write_plan
from medseg.preparation import prepare
from medseg.preparation import prepare as prepare_module
from medseg.store import Store
from medseg.testing.tiny_study import make_tiny_study


class Log:
    """Progress that remembers what was said."""

    def __init__(self) -> None:
        self.said, self.warned, self.tracked = [], [], []

    def track(self, items, *, label, total=None):
        self.tracked.append((label, total))
        yield from items

    def say(self, message: str) -> None:
        self.said.append(message)

    def warn(self, message: str) -> None:
        self.warned.append(message)


@pytest.fixture
def study(tmp_path):
    return load_dataset(make_tiny_study(tmp_path / "study", num_cases=3))


@pytest.fixture
def store_folder(tmp_path):
    return tmp_path / "store"


def times(folder) -> dict[str, int]:
    return {
        path.relative_to(folder).as_posix(): path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_store_holds_the_cases_as_planned(tiny_study, tiny_store) -> None:
    dataset = load_dataset(tiny_study)
    assert tiny_store.case_ids == tuple(case.case_id for case in dataset.cases)
    case = tiny_store.case("tiny_003")
    image, label = case.read_image(), case.read_label()
    assert image.shape == (1, *case.shape)
    assert label.shape == case.shape
    assert image.dtype == np.float32
    assert image.mean() == pytest.approx(0, abs=0.01)
    counts = np.bincount(label.ravel(), minlength=3)
    assert case.num_voxels == tuple(counts)
    original = read_label_map(dataset.case("tiny_003").label)
    back = restore(label, case.placement, scheme=dataset.scheme)
    np.testing.assert_array_equal(back.voxels, original.voxels)


def test_a_patch_is_the_same_part_of_the_whole(tiny_store) -> None:
    case = tiny_store.case("tiny_001")
    box = (slice(2, 9), slice(0, 28), slice(5, 6))
    np.testing.assert_array_equal(
        case.read_image(box), case.read_image()[(slice(None), *box)]
    )
    np.testing.assert_array_equal(case.read_label(box), case.read_label()[box])


def test_index_points_at_the_structures(tiny_store) -> None:
    case = tiny_store.case("tiny_002")
    label = case.read_label()
    for index in (1, 2):
        positions = case.voxels(index)
        assert len(positions) == case.num_voxels[index]
        assert (label[tuple(positions.T)] == index).all()
        assert case.lesions(index)["voxels"].sum() == case.num_voxels[index]


def test_folds_never_divide_a_patient(tiny_store) -> None:
    together = {"tiny_000", "tiny_001"}
    assert sum(together <= set(split.val) for split in tiny_store.splits) == 1
    train, validate = tiny_store.split(0)
    assert not set(train) & set(validate)
    assert len(train) + len(validate) == 6
    with pytest.raises(StoreError, match=r"no fold 7, only \[0, 1, 2\]"):
        tiny_store.split(7)


def test_second_call_does_nothing(study, store_folder) -> None:
    prepare(study, store_folder)
    before, log = times(store_folder), Log()
    prepare(study, store_folder, progress=log)
    assert times(store_folder) == before
    assert not log.tracked


def test_touched_file_with_the_same_content_is_recognised(study, store_folder) -> None:
    prepare(study, store_folder)
    before = times(store_folder / "cases")
    study.cases[0].images[0].touch()
    prepare(study, store_folder)
    assert times(store_folder / "cases") == before


def test_changed_label_prepares_that_case_again(study, store_folder) -> None:
    prepare(study, store_folder)
    before = times(store_folder / "cases")
    shutil.copy(study.cases[1].label, study.cases[0].label)
    prepare(study, store_folder)
    after = times(store_folder / "cases")
    changed = {name.split("/")[0] for name in before if before[name] != after[name]}
    assert changed == {study.cases[0].case_id}


def test_killed_prepare_continues(study, store_folder, monkeypatch) -> None:
    module = __import__("medseg.preparation.prepare", fromlist=["x"])
    real, done = module.prepare_case, []

    def dying(case, **keywords):
        if len(done) == 1:
            raise KeyboardInterrupt
        done.append(case.case_id)
        return real(case, **keywords)

    monkeypatch.setattr(module, "prepare_case", dying)
    with pytest.raises(KeyboardInterrupt):
        prepare(study, store_folder)
    with pytest.raises(StoreError, match=r"is incomplete .*continues where it was"):
        Store.open(store_folder)
    before = times(store_folder / "cases" / done[0])
    monkeypatch.setattr(module, "prepare_case", real)
    store = prepare(study, store_folder)
    assert len(store.case_ids) == 3
    assert times(store_folder / "cases" / done[0]) == before


def test_half_written_case_is_made_again(study, store_folder) -> None:
    prepare(study, store_folder)
    (store_folder / "cases" / "tiny_000" / "case.json").write_text("{")
    store = prepare(study, store_folder)
    assert store.case("tiny_000").read_label().any()


def test_edited_plan_is_honoured(study, store_folder) -> None:
    prepare(study, store_folder)
    path = store_folder / "plan.yaml"
    plan = read_plan(path).model_copy(update={"target_spacing": (2.0, 2.0, 3.0)})
    write_plan(path, plan)
    log = Log()
    store = prepare(study, store_folder, progress=log)
    assert store.plan.target_spacing == (2, 2, 3)
    assert store.case("tiny_000").shape == (12, 14, 10)
    assert "was edited and is used as it is" in log.said[0]


def test_given_plan_comes_first(study, store_folder, tmp_path, tiny_store) -> None:
    path = tmp_path / "mine.yaml"
    plan = tiny_store.plan.model_copy(update={"target_spacing": (1.5, 1.5, 1.5)})
    write_plan(path, plan)
    store = prepare(study, store_folder, plan=path)
    assert store.plan == plan
    assert read_plan(store_folder / "plan.yaml") == plan


def test_plan_stays_when_free_memory_changes(study, store_folder) -> None:
    first = prepare(study, store_folder, memory_bytes=2**33).plan
    assert prepare(study, store_folder, memory_bytes=2**26).plan == first
    asked = prepare(study, store_folder, memory_bytes=2**33, spatial_dims=2)
    assert asked.plan.spatial_dims == 2


def test_case_that_left_the_data_set_leaves_the_store(study, store_folder) -> None:
    prepare(study, store_folder)
    fewer = replace(study, cases=study.cases[1:])
    store = prepare(fewer, store_folder)
    assert store.case_ids == ("tiny_001", "tiny_002")
    assert not (store_folder / "cases" / "tiny_000").exists()


def test_broken_case_is_refused_and_can_be_skipped(study, store_folder) -> None:
    study.cases[2].label.unlink()
    with pytest.raises(DatasetError, match=r"1 of 3 .*\n  tiny_002: .*no such file"):
        prepare(study, store_folder)
    log = Log()
    store = prepare(study, store_folder, skip_broken=True, progress=log)
    assert store.case_ids == ("tiny_000", "tiny_001")
    assert any("left out: tiny_002" in line for line in log.warned)


def test_few_patients_get_few_folds(study, store_folder) -> None:
    log = Log()
    store = prepare(study, store_folder, num_folds=5, progress=log)
    assert [split.fold for split in store.splits] == [0, 1]
    assert "2 folds instead of 5" in log.warned[0]


def test_manifest_and_summary_name_files_and_hashes(study, store_folder) -> None:
    prepare(study, store_folder)
    lines = (store_folder / "manifest.csv").read_text().splitlines()
    assert lines[0] == "case_id,patient_id,images,label,fold,sha256"
    assert lines[1].startswith("tiny_000,patient_001,imagesTr/tiny_000.nii.gz,")
    summary = json.loads((store_folder / "store.json").read_text())
    assert summary["manifest_hash"] == study.manifest_hash


def test_store_of_another_version_is_refused(tiny_store, tmp_path) -> None:
    (tmp_path / "store.json").write_text('{"version": 0}')
    with pytest.raises(StoreError, match="store version 0, expected"):
        Store.open(tmp_path)
    with pytest.raises(StoreError, match="is not a store"):
        Store.open(tmp_path / "nowhere")


def test_truncated_array_is_named(study, store_folder) -> None:
    store = prepare(study, store_folder)
    path = store_folder / "cases" / "tiny_001" / "image.npy"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(StoreError, match="tiny_001: image cannot be read"):
        store.case("tiny_001").read_image()


def test_compressed_store_holds_the_same(study, tmp_path) -> None:
    plain = prepare(study, tmp_path / "plain").case("tiny_000")
    packed = prepare(study, tmp_path / "packed", compression="lz4").case("tiny_000")
    assert packed.folder.joinpath("image.b2nd").exists()
    np.testing.assert_array_equal(packed.read_image(), plain.read_image())
    np.testing.assert_array_equal(packed.read_label(), plain.read_label())


def test_processes_give_the_same_store(study, tmp_path) -> None:
    alone = prepare(study, tmp_path / "alone", workers=1)
    both = prepare(study, tmp_path / "both", workers=2)
    for name in alone.case_ids:
        one, two = alone.case(name), both.case(name)
        np.testing.assert_array_equal(one.image[:], two.image[:])
        np.testing.assert_array_equal(one.index.positions, two.index.positions)


def test_folder_that_cannot_be_written_is_one_clear_error(study, tmp_path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        prepare(study, tmp_path / "file" / "store")


def test_image_is_what_preprocessing_made(study, store_folder) -> None:
    store = prepare(study, store_folder)
    volume = read_volume(study.cases[0].images[0])
    prepared = prepare_module.__globals__["preprocess"](volume, store.plan)
    stored = store.case("tiny_000").read_image()
    np.testing.assert_allclose(stored, prepared.image, rtol=1e-3, atol=1e-4)


def test_case_kept_in_memory_reads_the_same(tiny_store) -> None:
    case, kept = tiny_store.case("tiny_001"), tiny_store.case("tiny_001")
    kept.keep_in_memory()
    assert not isinstance(kept.image, np.memmap)
    np.testing.assert_array_equal(kept.read_image(), case.read_image())
    np.testing.assert_array_equal(kept.read_label(), case.read_label())
