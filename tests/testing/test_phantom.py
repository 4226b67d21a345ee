"""The simulated brain study: repeatable, with the truth that its tables state."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from medseg.datasets import load_dataset, make_folds
from medseg.geometry import Grid, affine_from_spacing
from medseg.io import read_label_map, read_volume
from medseg.testing.phantom import SIMULATION_NOTE, make_phantom_study, plan_cases
from medseg.testing.phantom_head import Waves
from medseg.testing.phantom_lesions import Painting, draw_lesion, moved, paint

COARSE = (5.0, 5.0, 5.0)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("nilearn", reason="carries the brain template")
    folder = tmp_path_factory.mktemp("phantom")
    return make_phantom_study(folder, num_cases=5, spacing=COARSE, seed=1)


def test_it_is_a_decathlon_data_set_with_patients(study):
    found = load_dataset(study)
    assert found.channels == ("FLAIR", "T1")
    assert found.scheme.names == {"lesion": 1, "core": 2}
    assert len(found.cases) == 5
    assert len(found.patients) == 4
    folds = make_folds(found, num_folds=2)
    assert folds["phantom_003"] == folds["phantom_004"]


def test_it_says_what_is_simulated(study):
    assert json.loads((study / "dataset.json").read_text())["description"] == (
        SIMULATION_NOTE
    )


def test_images_are_brains_on_the_grid_of_their_labels(study):
    for case in load_dataset(study).cases:
        image = read_volume(case.images[0])
        assert case.label is not None
        label = read_label_map(case.label)
        assert image.num_channels == 2
        assert image.grid.mismatch(label.grid) == ""
        volume_ml = (
            np.count_nonzero(image.voxels[1]) * image.grid.voxel_volume_mm3 / 1e3
        )
        assert 1300 < volume_ml < 2300  # the template's brain is about 1.8 l
        assert not label.voxels[image.voxels[1] == 0].any()


def test_one_case_has_no_lesion(study):
    label = read_label_map(study / "labelsTr" / "phantom_002.nii.gz")
    assert not label.voxels.any()


def test_spacings_and_storage_differ(study):
    grids = [read_volume(case.images[0]).grid for case in load_dataset(study).cases]
    assert {grid.spacing for grid in grids} == {COARSE, (4.0, 4.0, 10.0)}
    assert {grid.orientation for grid in grids} == {"RAS", "LPS"}


def test_lesions_lie_where_the_table_says(study):
    with (study / "lesions.csv").open() as stream:
        rows = [row for row in csv.DictReader(stream) if float(row["volume_ml"]) > 3]
    assert rows
    for row in rows:
        label = read_label_map(study / "labelsTr" / f"{row['case_id']}.nii.gz")
        place = [float(row[axis]) for axis in ("x_mm", "y_mm", "z_mm")]
        labelled = np.argwhere(label.voxels > 0) @ label.affine[:3, :3].T
        distance = np.linalg.norm(labelled + label.affine[:3, 3] - place, axis=1)
        assert distance.min() < 12


def test_the_same_seed_gives_the_same_study(study, tmp_path):
    again = make_phantom_study(tmp_path, num_cases=4, spacing=COARSE, seed=1)
    for name in ("imagesTr/phantom_001.nii.gz", "labelsTr/phantom_003.nii.gz"):
        expected, found = read_volume(study / name), read_volume(again / name)
        np.testing.assert_array_equal(found.voxels, expected.voxels)
        np.testing.assert_array_equal(found.affine, expected.affine)


def test_every_fifth_case_is_a_second_visit():
    patients = [case.patient for case in plan_cases(10, spacing=COARSE)]
    assert patients == [0, 1, 2, 3, 3, 4, 5, 6, 7, 7]


@pytest.mark.parametrize("seed", range(8))
def test_a_painted_lesion_has_its_volume(seed):
    grid = Grid((40, 40, 40), affine_from_spacing((2.0, 2.0, 2.0)))
    painting = Painting.empty(grid.shape)
    white = np.ones(grid.shape, dtype=np.float32)
    lesion = draw_lesion(np.random.default_rng(seed))
    lesion = moved(lesion, to_mm=np.array([40.0, 40.0, 40.0]), growth=1.0)
    paint(lesion, painting, grid=grid, gray=0 * white, white=white)
    painted_ml = painting.lesion.sum() * grid.voxel_volume_mm3 / 1000
    assert painted_ml == pytest.approx(lesion.volume_ml, rel=0.02, abs=0.01)
    core_ml = painting.core.sum() * grid.voxel_volume_mm3 / 1000
    assert core_ml == pytest.approx(lesion.core_ml, rel=0.02, abs=0.01)
    assert painting.labels.any()


def test_waves_have_mean_0_and_variance_1():
    positions = np.random.default_rng(0).uniform(-500, 500, size=(3, 50000))
    values = Waves.draw(np.random.default_rng(1), wavelength_mm=20).at(positions)
    assert values.mean() == pytest.approx(0, abs=0.05)
    assert values.var() == pytest.approx(1, abs=0.1)
