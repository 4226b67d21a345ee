"""NRRD and MetaImage against SimpleITK's own idea of where a voxel lies."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from medseg.errors import InputError, OutputError
from medseg.io import read_grid, read_label_map, read_volume, write_volume
from medseg.volume import Volume

DATA = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="no shared data here")


@needs_data
@pytest.mark.parametrize("case", ["brain1", "breast1", "prostate_phantom"])
def test_voxel_and_position_agree_with_itk(case: str) -> None:
    path = DATA / "radiomics_cases" / f"{case}_image.nrrd"
    image, volume = sitk.ReadImage(str(path)), read_volume(path)
    for index in [(0, 0, 0), (3, 5, 2), (40, 60, 12)]:
        world = np.array(image.TransformIndexToPhysicalPoint(index)) * [-1, -1, 1]
        np.testing.assert_allclose((volume.affine @ [*index, 1])[:3], world, atol=1e-9)
        assert volume.voxels[(0, *index)] == image[index]
    assert volume.voxels.dtype == sitk.GetArrayViewFromImage(image).dtype


@needs_data
def test_left_handed_grid_stays_left_handed(tmp_path: Path) -> None:
    volume = read_volume(DATA / "radiomics_cases" / "brain1_image.nrrd")
    assert np.linalg.det(volume.affine[:3, :3]) < 0
    write_volume(tmp_path / "a.nii.gz", volume)
    np.testing.assert_allclose(read_grid(tmp_path / "a.nii.gz").affine, volume.affine)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_vector_image_becomes_channels(tmp_path: Path, suffix: str) -> None:
    array = np.arange(2 * 3 * 4 * 3, dtype=np.float32).reshape(2, 3, 4, 3)
    path = tmp_path / f"a{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(array, isVector=True), str(path))
    voxels = read_volume(path).voxels
    np.testing.assert_array_equal(voxels, array.transpose(3, 2, 1, 0))


def test_fourth_axis_becomes_channels_and_plane_one_k(tmp_path: Path) -> None:
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 2, 2)
    sitk.WriteImage(
        sitk.GetImageFromArray(array, isVector=False), str(tmp_path / "a.nrrd")
    )
    np.testing.assert_array_equal(
        read_volume(tmp_path / "a.nrrd").voxels, array.transpose(0, 3, 2, 1)
    )
    sitk.WriteImage(sitk.GetImageFromArray(array[0, 0]), str(tmp_path / "b.mha"))
    assert read_volume(tmp_path / "b.mha").voxels.shape == (1, 2, 2, 1)


def test_detached_header_reads_and_is_not_written(tmp_path: Path) -> None:
    array = np.arange(8, dtype=np.int16).reshape(2, 2, 2)
    sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / "a.mhd"))
    np.testing.assert_array_equal(read_label_map(tmp_path / "a.mhd").voxels, array.T)
    with pytest.raises(OutputError, match=r"name it \.mha or \.nrrd"):
        write_volume(tmp_path / "b.mhd", read_volume(tmp_path / "a.mhd"))


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_damage_is_one_clear_line(
    tmp_path: Path, suffix: str, capfd: pytest.CaptureFixture[str]
) -> None:
    good = tmp_path / f"good{suffix}"
    noise = np.random.default_rng(0).normal(size=(1, 9, 9, 9))
    write_volume(good, Volume(noise, np.eye(4)))
    data = good.read_bytes()
    for name, content in {
        "cut": data[:-2000],
        "text": b"rubbish " * 99,
        "empty": b"",
    }.items():
        path = tmp_path / f"{name}{suffix}"
        path.write_bytes(content)
        with pytest.raises(InputError, match=name) as caught:
            read_volume(path)
        assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")
