"""The tutorial of ten lines runs, and gives what it promises."""

import re
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

import medseg

PAGE = Path(__file__).parents[2] / "docs" / "tutorials" / "ten_lines.md"


def lines() -> list[str]:
    cells = re.findall(r"```\{code-cell\}[^\n]*\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return [line for cell in cells for line in cell.splitlines() if line.strip()]


def test_ten_lines_are_ten() -> None:
    assert len(lines()) == 10


def test_they_give_a_model_label_maps_scores_and_a_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    *most, last = lines()
    names: dict[str, Any] = {}
    exec("\n".join(most), names)
    picture = eval(last, names)
    assert picture.png.startswith(b"\x89PNG")
    run, label_map, case = names["run"], names["label_map"], names["case"]
    assert isinstance(run, medseg.Run)
    assert isinstance(run.model, medseg.Model)
    assert list(run.scores.index) == ["ball", "kernel", "mean of structures"]
    assert isinstance(label_map.voxels, np.ndarray)
    assert isinstance(names["image"], nibabel.Nifti1Image)
    scored = medseg.read_label_map(
        f"runs/first/validation/predictions/{case}.nii.gz"
    )  # what was scored is what the model says
    np.testing.assert_array_equal(label_map.voxels, scored.voxels)
    saved = np.asarray(nibabel.load(f"{case}_labels.nii.gz").dataobj)
    np.testing.assert_array_equal(saved, label_map.voxels)
