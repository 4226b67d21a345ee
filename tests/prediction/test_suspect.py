"""Suspect scans are marked wherever predictions are; their voxels stay the same."""

import shutil
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from predict_phantoms import Predict, planted_series

from medseg.geometry import affine_from_spacing
from medseg.io import read_label_map, read_volume, write_volume
from medseg.model import load_model
from medseg.plausibility.fitting import MeasuredRun, fit_ranges
from medseg.plausibility.judgement import NOT_CHECKED
from medseg.plausibility.scan_measures import measure_scan
from medseg.prediction.records import PredictionTable
from medseg.prediction.segmentation_model import PredictionWarning, SegmentationModel
from medseg.prediction.segmenter import ScanOptions
from medseg.training_ranges import FILE
from medseg.volume import Volume


@pytest.fixture(scope="module")
def ranged_model(
    bright_model: Path, tiny_study: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The bright model, with ranges of the tiny study's scans; findings unchecked."""
    folder = tmp_path_factory.mktemp("ranged") / "model"
    shutil.copytree(bright_model, folder)
    plan = load_model(folder).plan
    scans = {
        path.name: measure_scan(read_volume(path), plan)
        for path in sorted((tiny_study / "imagesTr").glob("*.nii.gz"))
    }
    run = MeasuredRun({name: name for name in scans}, scans, {}, {})
    (folder / FILE).write_text(fit_ranges(run).model_dump_json())
    return folder


@pytest.fixture
def scans(tiny_study: Path, tmp_path: Path) -> Path:
    """One scan as it is, and one whose grey values were turned."""
    good = tiny_study / "imagesTr" / "tiny_002.nii.gz"
    folder = tmp_path / "scans"
    folder.mkdir()
    shutil.copy(good, folder / "good.nii.gz")
    volume = read_volume(good)
    turned = volume.voxels.max() - volume.voxels
    write_volume(folder / "turned.nii.gz", Volume(turned, volume.affine))
    return folder


def test_table_terminal_and_page_name_the_suspect_scan(
    ranged_model: Path,
    scans: Path,
    tmp_path: Path,
    call: Predict,
    capfd: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    page = ScanOptions(page=True)
    good, turned = call(ranged_model, scans, out, options=page, loud=True)
    assert (good.plausibility, turned.plausibility) == ("plausible", "suspect")
    assert any("inverted" in doubt for doubt in turned.doubts)
    said = " ".join("".join(capfd.readouterr()).split())
    assert "turned: suspect: synthetic0: where it is bright and dark" in said
    assert "good: suspect" not in said
    kept = PredictionTable(out).lines
    assert [line.plausibility for line in kept] == ["plausible", "suspect"]
    assert kept[1].doubts == turned.doubts
    text = (out / "report.html").read_text()
    assert text.index("Suspect: unlike the scans of training") < text.index("inverted")
    again = call(ranged_model, scans, out, options=page)
    assert [line.status for line in again] == ["unchanged", "unchanged"]
    assert again[1].doubts == turned.doubts


def test_no_voxel_depends_on_it(
    ranged_model: Path, bright_model: Path, scans: Path, tmp_path: Path, call: Predict
) -> None:
    call(ranged_model, scans, tmp_path / "checked")
    lines = call(bright_model, scans, tmp_path / "unchecked")
    assert {line.plausibility for line in lines} == {NOT_CHECKED}
    for name in ("good.nii.gz", "turned.nii.gz"):
        one, other = (
            read_label_map(tmp_path / folder / name).voxels
            for folder in ("checked", "unchecked")
        )
        np.testing.assert_array_equal(one, other)


def test_python_calls_warn_or_note(ranged_model: Path, scans: Path) -> None:
    model = SegmentationModel.load(ranged_model, device="cpu")
    with pytest.warns(PredictionWarning, match="suspect: .*inverted"):
        model.predict(scans / "turned.nii.gz")
    with warnings.catch_warnings():
        warnings.simplefilter("error", PredictionWarning)
        model.predict(scans / "good.nii.gz")
        notes: list[str] = []
        model.predict(read_volume(scans / "turned.nii.gz"), notes=notes)
    assert any(note.startswith("suspect: ") for note in notes)


@pytest.mark.parametrize("has_ranges", [True, False])
def test_segmentation_objects_say_so(
    has_ranges: bool,
    ranged_model: Path,
    bright_model: Path,
    tmp_path: Path,
    call: Predict,
) -> None:
    planted_series(tmp_path / "tree")
    model = ranged_model if has_ranges else bright_model
    seg = ScanOptions(seg=True)
    (line,) = call(model, tmp_path / "tree", tmp_path / "out", options=seg)
    found = pydicom.dcmread(tmp_path / "out" / line.outputs[1])
    description = str(found.get("ContentDescription") or "")
    assert bool(line.doubts) == has_ranges == description.startswith("SUSPECT")
    assert len(description) <= 64


def test_a_scan_on_another_grid_is_suspect(
    ranged_model: Path, tiny_study: Path, tmp_path: Path, call: Predict
) -> None:
    volume = read_volume(tiny_study / "imagesTr" / "tiny_003.nii.gz")
    thick = Volume(volume.voxels[..., ::4], affine_from_spacing((0.3, 0.3, 10.0)))
    write_volume(tmp_path / "scans" / "thick.nii.gz", thick)
    (line,) = call(ranged_model, tmp_path / "scans", tmp_path / "out")
    assert any("voxels of 10 mm from feet to head" in doubt for doubt in line.doubts)
