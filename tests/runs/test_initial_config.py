"""`medseg init`: what the file says follows from the data."""

from pathlib import Path

import pytest

from medseg.errors import DatasetError
from medseg.runs.config import read_config
from medseg.runs.initial_config import write_initial_config
from medseg.testing import make_tiny_cells, make_tiny_membranes, make_tiny_study


def test_cells_learn_their_rims_in_2d(tmp_path: Path) -> None:
    made = write_initial_config(
        make_tiny_cells(tmp_path / "cells"), tmp_path / "c.yaml"
    )
    config = read_config(made.path, [])
    assert config.prepare.spatial_dims == 2
    assert config.prepare.instance_target == "border"
    assert config.metrics.lesions == ()
    assert made.num_looked_at == 8  # of nine that are trained on


def test_membranes_in_many_pieces_are_scored_piece_by_piece(tmp_path: Path) -> None:
    data = make_tiny_membranes(tmp_path / "em")
    made = write_initial_config(data, tmp_path / "em.yaml")
    config = read_config(made.path, [])
    assert config.data == data.absolute()
    assert config.prepare.spatial_dims == 2
    assert "folds" in made.text


def test_cases_that_cannot_be_read_are_left_out_and_said(tmp_path: Path) -> None:
    study = make_tiny_study(tmp_path / "tiny")
    (study / "imagesTr" / "tiny_000.nii.gz").write_bytes(b"nothing")
    made = write_initial_config(study, tmp_path / "t.yaml")
    assert "Looked at 5 of 6 cases" in made.text
    for path in (study / "imagesTr").iterdir():
        path.write_bytes(b"nothing")
    with pytest.raises(DatasetError, match="6 of 6 cases cannot be used"):
        write_initial_config(study, tmp_path / "u.yaml")
    assert not (tmp_path / "u.yaml").exists()
