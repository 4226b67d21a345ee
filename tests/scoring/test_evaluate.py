import json
import re

import numpy as np
import pandas as pd
import pytest

from medseg.errors import InputError, MissingFileError
from medseg.evaluation.settings import MetricSettings
from medseg.geometry import affine_from_spacing
from medseg.io import read_label_map, write_label_map
from medseg.labels import LabelScheme
from medseg.progress import Silent
from medseg.scoring.evaluate import evaluate
from medseg.testing.tiny_study import make_tiny_study
from medseg.volume import LabelMap

QUICK = MetricSettings(num_resamples=200)


class Listener(Silent):
    """Progress that keeps what it is told."""

    def __init__(self):
        self.said = []

    def say(self, message):
        self.said.append(message)

    warn = say


@pytest.fixture
def study(tmp_path):
    """A data set, and predictions that equal its labels but for one missed kernel."""
    root = make_tiny_study(tmp_path / "study", num_cases=4)
    for path in sorted((root / "labelsTr").iterdir()):
        label_map = read_label_map(path)
        if path.name == "tiny_001.nii.gz":
            kept = np.where(label_map.voxels == 2, 0, label_map.voxels)
            label_map = LabelMap(kept, label_map.affine)
        write_label_map(tmp_path / "predictions" / path.name, label_map)
    return tmp_path


def run(study, references="study", **options):
    return evaluate(
        study / "predictions",
        study / references,
        study / "scores",
        settings=options.pop("settings", QUICK),
        pictures=options.pop("pictures", 0),
        **options,
    )


def mean_of(evaluation, structure, metric="dice"):
    rows = evaluation.summary.set_index(["structure", "metric"])
    return rows.loc[(structure, metric)]


def test_a_data_set_gives_names_and_patients(study):
    evaluation = run(study)
    assert mean_of(evaluation, "ball")["mean"] == 1
    kernel = mean_of(evaluation, "kernel")
    assert (kernel["mean"], kernel["n"], kernel["n_missed"]) == (0.75, 4, 1)
    assert kernel["n_patients"] == 3


def test_the_label_folder_of_a_data_set_is_understood_as_such(study):
    evaluation = run(study, "study/labelsTr")
    assert set(evaluation.cases["structure"]) == {"ball", "kernel"}
    assert mean_of(evaluation, "kernel")["n_patients"] == 3


def test_any_folder_of_label_maps_will_do(study):
    (study / "study" / "labelsTr").rename(study / "truth")
    evaluation = run(study, "truth")
    assert set(evaluation.cases["structure"]) == {"label_1", "label_2"}


def test_the_tables_are_written_and_read_back(study):
    evaluation = run(study)
    cases = pd.read_csv(study / "scores" / "cases.csv")
    assert len(cases) == 8
    assert cases["outcome"].tolist().count("missed") == 1
    summary = json.loads((study / "scores" / "summary.json").read_text())
    assert summary["settings"]["tolerance_mm"] == 1.0
    assert summary["num_scored"] == 4
    assert len(summary["summary"]) == len(evaluation.summary)


def test_the_text_shows_means_and_what_was_missed(study):
    text = run(study).to_text()
    kernel = next(line for line in text.splitlines() if line.startswith("kernel"))
    assert "0.750" in kernel
    assert kernel.split()[-2:] == ["1", "0"]
    assert "4 cases scored, 0 failed, 0 without a prediction" in text


def test_one_bad_prediction_is_named_and_the_rest_scored(study):
    write_label_map(
        study / "predictions" / "tiny_002.nii.gz",
        LabelMap(np.zeros((3, 3, 3), dtype=np.uint8), affine_from_spacing((1, 1, 1))),
    )
    evaluation = run(study)
    assert evaluation.failed
    assert "tiny_002: the prediction does not lie" in evaluation.failures[0]
    assert mean_of(evaluation, "ball")["n"] == 3


def test_when_nothing_can_be_scored_the_first_reason_is_told(study):
    for path in (study / "predictions").iterdir():
        path.write_bytes(b"")
    with pytest.raises(InputError, match="none of 4 cases could be scored"):
        run(study)


def test_missing_predictions_are_told(study):
    (study / "predictions" / "tiny_003.nii.gz").unlink()
    listener = Listener()
    evaluation = run(study, progress=listener)
    assert evaluation.without_prediction == ("tiny_003",)
    assert any("1 references without a prediction" in line for line in listener.said)


def test_a_value_only_predictions_hold_is_scored_as_invented(study):
    (study / "study" / "labelsTr").rename(study / "truth")
    path = study / "predictions" / "tiny_000.nii.gz"
    label_map = read_label_map(path)
    label_map.voxels[0, 0, 0] = 7
    write_label_map(path, label_map)
    evaluation = run(study, "truth")
    assert mean_of(evaluation, "label_7")["n_invented"] == 1


def test_a_scheme_wins_over_what_the_references_say(study):
    scheme = LabelScheme(names={"all": 1, "core": 2}, regions={"both": ("all", "core")})
    evaluation = run(study, scheme=scheme)
    assert set(evaluation.cases["structure"]) == {"all", "core", "both"}


def test_lesions_are_written_where_asked_for(study):
    run(study, settings=MetricSettings(lesions=("kernel",), num_resamples=200))
    lesions = pd.read_csv(study / "scores" / "lesions.csv")
    assert (~lesions["detected"]).sum() == 1
    sizes = pd.read_csv(study / "scores" / "lesions_by_size.csv")
    assert sizes.iloc[-1]["sensitivity"] == 0.75


def test_objects_are_scored_where_values_number_them(study):
    scheme = LabelScheme(names={"cell": 1}, instances=True)
    evaluation = run(study, scheme=scheme)
    assert evaluation.objects["num_reference"].tolist() == [2, 2, 2, 2]
    summary = pd.read_csv(study / "scores" / "objects_summary.csv")
    assert set(summary["structure"]) == {"mean of images", "all objects"}


def test_a_path_that_is_not_there_is_refused(study):
    with pytest.raises(MissingFileError, match="no such file or folder"):
        run(study, "nowhere")


def test_the_page_and_pictures_are_written(study):
    run(study, pictures=1)
    pictures = {path.stem for path in (study / "scores" / "pictures").glob("*.png")}
    assert "tiny_001" in pictures
    page = (study / "scores" / "report.html").read_text()
    assert page.count("<figure>") == len(pictures) == 3
    assert (study / "scores" / "mosaic.png").stat().st_size > 1000


def test_every_case_has_a_page_to_look_at_it_in(study):
    run(study, pictures=1)
    page = (study / "scores" / "report.html").read_text()
    names = [f"tiny_{number:03d}" for number in range(4)]
    for name in names:
        assert f'<a href="viewer/{name}.html">{name.replace("_", "_<wbr>")}</a>' in page
        text = (study / "scores" / "viewer" / f"{name}.html").read_text()
        assert '<a href="../report.html">' in text
        assert re.search(r"<h1>.*</h1><p>Dice \d\.\d{3}</p>", text)
    assert page.count('<figcaption><a href="viewer/tiny_') == 3


def test_no_page_is_written_where_none_is_wanted(study):
    run(study, pictures=1, viewer=False)
    assert not (study / "scores" / "viewer").exists()
    assert 'href="viewer' not in (study / "scores" / "report.html").read_text()


def test_a_case_without_its_scan_is_pictured_all_the_same(study):
    (study / "study" / "imagesTr" / "tiny_001.nii.gz").write_bytes(b"")
    listener = Listener()
    run(study, pictures=1, progress=listener)
    assert (study / "scores" / "pictures" / "tiny_001.png").exists()
    assert any("pictured without its scan" in line for line in listener.said)
    page = (study / "scores" / "viewer" / "tiny_001.html").read_text()
    assert "label maps are shown on black" in page
