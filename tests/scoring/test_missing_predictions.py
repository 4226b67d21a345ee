"""A reference without a prediction is the worst case there is, whatever is scored."""

import numpy as np
import pytest
from typer.testing import CliRunner

from medseg.cli.app import app
from medseg.evaluation.settings import MetricSettings
from medseg.geometry import affine_from_spacing
from medseg.io import write_label_map
from medseg.labels import LabelScheme
from medseg.scoring.evaluate import evaluate
from medseg.volume import LabelMap

QUICK = MetricSettings(num_resamples=100, lesions="all")
SCHEME = LabelScheme(names={"ball": 1}, regions={"all": ("ball",)})


@pytest.fixture
def folders(tmp_path):
    """Three cases with a cube of 64 voxels each, two of them predicted."""
    for case in "abc":
        voxels = np.zeros((10, 10, 10), np.uint8)
        voxels[2:6, 2:6, 2:6] = 1
        label_map = LabelMap(voxels, affine_from_spacing((1, 1, 2)))
        write_label_map(tmp_path / "true" / f"{case}.nii.gz", label_map)
        if case != "b":
            write_label_map(tmp_path / "predicted" / f"{case}.nii.gz", label_map)
    return tmp_path


def run(root, **options):
    return evaluate(
        root / "predicted",
        root / "true",
        root / "scores",
        settings=QUICK,
        pictures=1,
        **options,
    )


def test_missing_counts_as_worst_in_every_mean(folders):
    evaluation = run(folders, scheme=SCHEME)
    means = evaluation.summary.set_index(["structure", "metric"])["mean"]
    diagonal = np.linalg.norm([9, 9, 18])
    assert means[("ball", "dice")] == pytest.approx(2 / 3)
    assert means[("all", "dice")] == pytest.approx(2 / 3)
    assert means[("ball", "nsd")] == pytest.approx(2 / 3)
    assert means[("ball", "hd95_mm")] == pytest.approx(diagonal / 3)
    assert evaluation.failed
    assert evaluation.without_prediction == ("b",)
    assert "1 without a prediction (all missed)" in evaluation.to_text()
    page = (folders / "scores" / "report.html").read_text()
    assert "1 references have no prediction and count as missed" in page
    assert (folders / "scores" / "pictures" / "b.png").is_file()


def test_missing_lesions_are_missed(folders):
    evaluation = run(folders, scheme=SCHEME)
    lesions = evaluation.lesions[evaluation.lesions["structure"] == "ball"]
    assert lesions.set_index("case_id")["detected"].to_dict() == {
        "a": True,
        "b": False,
        "c": True,
    }


def test_missing_objects_are_missed(folders):
    evaluation = run(folders, objects=True)
    assert evaluation.objects["ap_0.5"].tolist() == [1, 1, 0]  # predicted ones first
    assert evaluation.objects["num_predicted"].tolist() == [1, 1, 0]


def test_an_empty_reference_loses_nothing_by_it(folders):
    nothing = LabelMap(np.zeros((10, 10, 10), np.uint8), affine_from_spacing((1, 1, 2)))
    write_label_map(folders / "true" / "b.nii.gz", nothing)
    evaluation = run(folders, scheme=SCHEME)
    means = evaluation.summary.set_index(["structure", "metric"])
    assert means.loc[("ball", "dice"), "mean"] == 1
    assert means.loc[("ball", "dice"), "n_absent"] == 1
    assert evaluation.failed  # a scan was lost all the same


def test_the_command_ends_with_1_unless_told_otherwise(folders):
    words = ["evaluate", str(folders / "predicted"), str(folders / "true"), "-o"]
    result = CliRunner().invoke(app, [*words, str(folders / "one")])
    assert result.exit_code == 1, result.output
    result = CliRunner().invoke(app, [*words, str(folders / "two"), "--only-predicted"])
    assert result.exit_code == 0, result.output
    assert "2 cases scored, 0 failed, 0 without" in result.output
