"""Label maps on leaning grids, as of tilted gantries: scored, or told why not."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import SimpleITK

from medseg.datasets import load_dataset
from medseg.errors import DatasetError
from medseg.preparation import prepare
from medseg.scoring.evaluate import evaluate
from medseg.testing.tiny_study import make_tiny_study

SHAPE = (14, 13, 10)
SHEARED = np.array([[1, 0, 0.6, 5], [0, 1.5, 0, -3], [0, 0, 2, 7], [0, 0, 0, 1.0]])
STRAIGHT = np.diag([1, 1.5, 2, 1.0])


def cube(start: int) -> np.ndarray:
    voxels = np.zeros(SHAPE, np.uint8)
    voxels[4:9, 4:9, start : start + 4] = 1
    return voxels


def write(folder: Path, name: str, voxels: np.ndarray, affine: np.ndarray) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(voxels, affine), folder / f"{name}.nii.gz")


def surface(voxels: np.ndarray) -> np.ndarray:
    """World positions of voxels of a mask that have a neighbour outside."""
    padded = np.pad(voxels, 1)
    inside = np.ones(SHAPE, bool)
    for axis in range(3):
        for step in (-1, 1):
            inside &= np.roll(padded, step, axis)[1:-1, 1:-1, 1:-1] == 1
    positions = np.argwhere((voxels == 1) & ~inside)
    return positions @ SHEARED[:3, :3].T


def hausdorff(one: np.ndarray, two: np.ndarray) -> float:
    a, b = surface(one), surface(two)
    between = np.linalg.norm(a[:, None] - b[None], axis=2)
    return max(between.min(axis=0).max(), between.min(axis=1).max())


def test_equal_leaning_grids_are_scored_in_the_world(tmp_path):
    write(tmp_path / "p", "a", cube(3), SHEARED)
    write(tmp_path / "r", "a", cube(4), SHEARED)
    evaluate(tmp_path / "p", tmp_path / "r", tmp_path / "out", pictures=0)
    (row,) = pd.read_csv(tmp_path / "out" / "cases.csv").itertuples()
    assert row.dice == pytest.approx(2 * 75 / 200)
    assert row.hd_mm == pytest.approx(hausdorff(cube(3), cube(4)), rel=1e-5)
    assert row.hd_mm > 2.0  # straightened axes would give the 2 mm between slices
    assert row.volume_ml == pytest.approx(100 * 3 / 1000)


def test_leaning_against_straight_is_a_failure_that_says_how_they_differ(tmp_path):
    for name, affine in (("a", SHEARED), ("b", STRAIGHT)):
        write(tmp_path / "p", name, cube(3), affine)
        write(tmp_path / "r", name, cube(3), STRAIGHT)
    found = evaluate(tmp_path / "p", tmp_path / "r", tmp_path / "out", pictures=0)
    (failure,) = found.failures
    assert failure.startswith("a: the prediction does not lie on the reference's grid")
    assert found.num_scored == 1


def test_a_label_map_to_train_on_says_why_it_cannot_be_used(tmp_path):
    study = make_tiny_study(tmp_path / "s", num_cases=3, shape=SHAPE)
    for name in ("tiny_000", "tiny_001"):
        path = study / "labelsTr" / f"{name}.nii.gz"
        voxels = np.asarray(nib.load(path).dataobj)
        nib.save(nib.Nifti1Image(voxels, SHEARED), path)
    with pytest.raises(DatasetError, match=r"(?s)2 of 3 .*not at right angles"):
        prepare(load_dataset(study), tmp_path / "store", workers=1)


def test_meta_images_lean_alike(tmp_path):
    for side, start in (("p", 3), ("r", 3)):
        image = SimpleITK.GetImageFromArray(cube(start).T)
        axes = SHEARED[:3, :3] / np.linalg.norm(SHEARED[:3, :3], axis=0)
        (tmp_path / side).mkdir()
        image.SetSpacing(np.linalg.norm(SHEARED[:3, :3], axis=0).tolist())
        try:
            image.SetDirection((np.diag([-1, -1, 1]) @ axes).ravel().tolist())
        except RuntimeError:
            pytest.skip("this SimpleITK writes no leaning axes")
        SimpleITK.WriteImage(image, str(tmp_path / side / "a.mha"))
    evaluate(tmp_path / "p", tmp_path / "r", tmp_path / "out", pictures=0)
    (row,) = pd.read_csv(tmp_path / "out" / "cases.csv").itertuples()
    assert (row.dice, row.hd_mm) == (1, 0)
