from pathlib import Path

import numpy as np
import pytest

from medseg.errors import DatasetError, MissingFileError
from medseg.evaluation import folder as folder_module
from medseg.evaluation.folder import score_pairs
from medseg.evaluation.pairs import pair_files, references_in
from medseg.evaluation.settings import MetricSettings
from medseg.evaluation.tables import object_table, structure_table
from medseg.geometry import affine_from_spacing
from medseg.io import write_label_map
from medseg.labels import LabelScheme
from medseg.volume import LabelMap

SCHEME = LabelScheme(names={"ball": 1})
CASES = ("a", "b", "c")


class Recorder:
    """Progress that keeps what it is told."""

    def __init__(self):
        self.warnings = []

    def track(self, items, *, label, total=None):
        yield from items

    def warn(self, message):
        self.warnings.append(message)


def write_ball(path: Path, *, size=4, spacing=1.0):
    voxels = np.zeros((8, 8, 8), dtype=np.uint8)
    voxels[1 : 1 + size, 1:5, 1:5] = 1
    write_label_map(path, LabelMap(voxels, affine_from_spacing((spacing,) * 3)))


@pytest.fixture
def pairing(tmp_path):
    for case in CASES:
        write_ball(tmp_path / "predictions" / f"{case}.nii.gz")
        write_ball(tmp_path / "references" / f"{case}.nrrd")
    return tmp_path


def pairs_in(root: Path):
    return pair_files(root / "predictions", references_in(root / "references"))


def test_files_are_paired_by_name_whatever_the_format(pairing):
    found = pairs_in(pairing)
    assert [pair.case_id for pair in found.pairs] == list(CASES)
    assert found.lone_predictions == found.missing == ()


def test_files_without_a_partner_are_named(pairing):
    (pairing / "references" / "a.nrrd").unlink()
    (pairing / "predictions" / "b.nii.gz").unlink()
    found = pairs_in(pairing)
    assert [path.name for path in found.lone_predictions] == ["a.nii.gz"]
    assert [pair.case_id for pair in found.missing] == ["b"]


def test_predictions_may_be_named_after_the_case_or_its_label_file(pairing):
    references = {"case_7": pairing / "references" / "a.nrrd"}
    patients = {"case_7": "p"}
    found = pair_files(pairing / "predictions", references, patients=patients)
    assert [(p.case_id, p.patient_id) for p in found.pairs] == [("case_7", "p")]


def test_nothing_in_common_is_refused(pairing):
    with pytest.raises(DatasetError, match="none of the 3 label maps is named after"):
        pair_files(pairing / "predictions", {"x": Path("x.nii.gz")})


def test_two_files_of_one_name_are_refused(pairing):
    write_ball(pairing / "predictions" / "a.nrrd")
    with pytest.raises(DatasetError, match="name the same case"):
        pairs_in(pairing)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(MissingFileError, match="holds no label map"):
        references_in(tmp_path)


def test_one_bad_pair_never_stops_the_rest(pairing):
    write_ball(pairing / "predictions" / "a.nii.gz", spacing=2.0)
    (pairing / "predictions" / "b.nii.gz").write_bytes(b"no scan")
    progress = Recorder()
    results = score_pairs(pairs_in(pairing).pairs, SCHEME, progress=progress)
    assert [bool(result.failure) for result in results] == [True, True, False]
    assert (
        "a: the prediction does not lie on the reference's grid" in results[0].failure
    )
    assert progress.warnings == [results[0].failure, results[1].failure]
    assert results[2].structures[0].dice == 1


def test_processes_give_the_same_rows(pairing):
    pairs = pairs_in(pairing).pairs
    alone = score_pairs(pairs, SCHEME, workers=1)
    assert score_pairs(pairs, SCHEME, workers=2) == alone


def test_a_dead_process_costs_its_own_pair_alone(pairing, monkeypatch):
    pairs = pairs_in(pairing).pairs
    monkeypatch.setattr(folder_module, "_score_pair", _die_on_b)
    results = score_pairs(pairs, SCHEME, workers=2)
    assert [bool(result.failure) for result in results] == [False, True, False]
    assert "b: the process that scored it died" in results[1].failure


def _die_on_b(pair, *, scheme, settings):
    import os

    if pair.case_id == "b":
        os._exit(9)
    return folder_module.ScoredCase(pair)


def test_tables_have_a_row_per_case_and_structure(pairing):
    write_ball(pairing / "predictions" / "a.nii.gz", size=2)
    results = score_pairs(pairs_in(pairing).pairs, SCHEME)
    table = structure_table([row for r in results for row in r.structures])
    assert table["case_id"].tolist() == list(CASES)
    assert table["dice"].tolist() == [2 / 3, 1, 1]
    assert object_table(results).empty


def test_objects_are_scored_where_values_number_them(pairing):
    scheme = LabelScheme(names={"cell": 1}, instances=True)
    settings = MetricSettings(instance_thresholds=(0.5,))
    results = score_pairs(pairs_in(pairing).pairs, scheme, settings)
    table = object_table(results)
    assert table["ap_0.5"].tolist() == [1, 1, 1]
    assert table["num_reference"].tolist() == [1, 1, 1]
