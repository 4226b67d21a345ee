"""Scans on leaning grids, channels in other orientations: results lie where they do."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
from predict_phantoms import Predict, scan_like

from medseg.io import read_grid, read_label_map, read_volume, write_volume
from medseg.volume import Volume

SHEAR = np.array([[1.0, 0.2, 0, 5], [0, 1, 0.3, -4], [0, 0, 1.5, 7], [0, 0, 0, 1]])


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii"])
def test_a_sheared_scan_gets_a_label_map_on_its_own_grid(
    bright_model: Path, tmp_path: Path, call: Predict, suffix: str
) -> None:
    voxels = np.random.default_rng(0).normal(100, 20, (24, 28, 20)).astype(np.float32)
    path = tmp_path / "tree" / f"leaning{suffix}"
    path.parent.mkdir()
    nibabel.save(nibabel.Nifti1Image(voxels, SHEAR), path)
    (line,) = call(bright_model, tmp_path / "tree", tmp_path / "out")
    assert line.status == "done"
    assert any("brought back" in warning for warning in line.warnings)
    result = nibabel.load(tmp_path / "out" / line.outputs[0])
    assert result.shape == (24, 28, 20)
    np.testing.assert_allclose(result.affine, SHEAR, atol=1e-5)
    found = np.asarray(result.dataobj) > 0
    assert found.mean() > 0.5  # as the model finds its structure nearly everywhere
    volume = sum(line.volumes_ml.values())
    assert volume == pytest.approx(found.sum() * 1.5 / 1000, rel=1e-6)


def test_channels_of_one_scan_in_two_orientations_give_one_result(
    two_channel_model: Path, tmp_path: Path, call: Predict
) -> None:
    for folder in ("plain", "turned"):
        scan_like(tmp_path / folder / "x_t1.nii.gz", seed=1)
        scan_like(tmp_path / folder / "x_flair.nii.gz", seed=2)
    path = tmp_path / "turned" / "x_flair.nii.gz"
    volume = read_volume(path)
    turn = np.array([[0, -1.0, 0, 23], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
    moved = volume.voxels.transpose(0, 3, 1, 2)[:, :, ::-1]
    write_volume(path, Volume(moved, volume.affine @ turn))
    results = []
    for folder in ("plain", "turned"):
        (line,) = call(two_channel_model, tmp_path / folder, tmp_path / f"{folder}_out")
        assert (line.status, line.warnings) == ("done", ())
        results.append(read_label_map(tmp_path / f"{folder}_out" / line.outputs[0]))
    assert not results[0].grid.mismatch(results[1].grid)
    np.testing.assert_array_equal(results[0].voxels, results[1].voxels)


def test_a_sequence_that_the_model_does_not_know_is_said_not_to_be_used(
    two_channel_model: Path, tmp_path: Path, call: Predict
) -> None:
    for name in ("x_t1", "x_flair", "x_T2", "y_t1", "y_flair"):
        scan_like(tmp_path / "tree" / f"{name}.nii.gz", seed=len(name))
    lines = call(two_channel_model, tmp_path / "tree", tmp_path / "out")
    found = {line.scan: (line.status, line.reason) for line in lines}
    assert found["x"][0] == found["y"][0] == "done"
    assert found["x_T2"][0] == "set aside"
    assert "not used: no channel of the model (t1, flair)" in found["x_T2"][1]


@pytest.mark.parametrize(
    "code", [("units", 123, 7), ("qfac", 76, 0), ("pixdim", 83, 0xBF)]
)
def test_a_header_that_must_be_mended_is_said_and_done(
    model: Path, tmp_path: Path, call: Predict, code: tuple[str, int, int]
) -> None:
    path = scan_like(tmp_path / "tree" / "odd.nii")
    scan_like(tmp_path / "tree" / "sound.nii", seed=1)
    data = bytearray(path.read_bytes())
    data[254:256] = b"\0\0"  # no sform: the quaternion and the voxel size count
    data[252:254] = b"\1\0"
    name, at, value = code
    data[at] = value
    if name == "qfac":
        data[76:80] = b"\0\0\0\0"
    path.write_bytes(bytes(data))
    lines = {
        line.scan: line for line in call(model, tmp_path / "tree", tmp_path / "out")
    }
    assert {line.status for line in lines.values()} == {"done"}
    assert lines["odd"].warnings
    assert not read_grid(tmp_path / "out" / lines["odd"].outputs[0]).mismatch(
        read_grid(tmp_path / "tree" / "sound.nii")
    )
