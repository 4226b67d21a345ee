"""Images of other libraries on oblique grids: read and given back as these see them."""

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from monai.data import MetaTensor
from monai.transforms import EnsureChannelFirst, LoadImage

import medseg
from medseg.errors import InputError
from medseg.geometry import Grid
from medseg.io.in_memory import open_image, open_label_map
from medseg.reading import read_volume
from medseg.types import Affine

pytestmark = pytest.mark.filterwarnings("ignore:NvImgCodec")  # LoadImage's own
SHAPE = (5, 6, 7)


def oblique(*, left_handed: bool = False) -> Affine:
    """Turned about two axes, with three voxel sizes and an origin off the middle."""
    a, b = 0.4, -0.25
    about_z = [[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]]
    about_x = [[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]]
    affine = np.eye(4)
    affine[:3, :3] = np.array(about_z) @ about_x @ np.diag([0.8, 1.2, 2.5])
    affine[:3, 3] = (-31.5, 12.25, 90.0)
    if left_handed:
        affine[:3, 0] *= -1
    return affine


def scan(channels: int = 1, **how: bool) -> medseg.Volume:
    count = channels * int(np.prod(SHAPE))
    voxels = np.arange(count, dtype=np.float32).reshape(channels, *SHAPE)
    return medseg.Volume(voxels, oblique(**how))


def labels() -> medseg.LabelMap:
    values = np.arange(np.prod(SHAPE)).reshape(SHAPE) % 4
    return medseg.LabelMap(values.astype(np.uint8), oblique())


@pytest.mark.parametrize("left_handed", [False, True])
def test_sitk_puts_voxels_where_the_affine_does(left_handed: bool) -> None:
    volume = scan(left_handed=left_handed)
    image = volume.to_sitk()
    index = (3, 1, 6)
    right_anterior_superior = volume.affine @ [*index, 1]
    x, y, z = image.TransformIndexToPhysicalPoint(index)  # LPS
    np.testing.assert_allclose((-x, -y, z), right_anterior_superior[:3], atol=1e-4)
    assert image.GetPixel(*index) == volume.voxels[(0, *index)]


@pytest.mark.parametrize("left_handed", [False, True])
def test_monai_loads_what_nibabel_writes(tmp_path: Path, left_handed: bool) -> None:
    volume = scan(left_handed=left_handed)
    nibabel.save(volume.to_nibabel(), tmp_path / "a.nii.gz")
    loaded = EnsureChannelFirst()(LoadImage()(tmp_path / "a.nii.gz"))
    made = volume.to_monai()
    np.testing.assert_allclose(made.affine, loaded.affine, atol=1e-4)
    np.testing.assert_array_equal(made.numpy(), loaded.numpy())


def kinds(volume: medseg.Volume) -> dict[str, Any]:
    one = volume.num_channels == 1
    array = volume.voxels[0] if one else volume.voxels
    return {
        "volume": volume,
        "array": (array, volume.affine),
        "nibabel": volume.to_nibabel(),
        "sitk": volume.to_sitk(),
        "monai": volume.to_monai(),
        "list": [(channel, volume.affine) for channel in volume.voxels],
    }


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("left_handed", [False, True])
def test_every_kind_holds_the_same_volume(channels: int, left_handed: bool) -> None:
    volume = scan(channels, left_handed=left_handed)
    for name, image in kinds(volume).items():
        read = open_image(image).volume
        np.testing.assert_array_equal(read.voxels, volume.voxels, err_msg=name)
        np.testing.assert_allclose(read.affine, volume.affine, atol=1e-4, err_msg=name)


def test_files_and_what_libraries_read_of_them_are_the_same(tmp_path: Path) -> None:
    volume = scan(2)
    medseg.write_volume(tmp_path / "a.nii.gz", volume)
    medseg.write_volume(tmp_path / "b.mha", volume)
    images = {
        "a.nii.gz": nibabel.load(tmp_path / "a.nii.gz"),
        "b.mha": sitk.ReadImage(str(tmp_path / "b.mha")),
    }
    for name, image in images.items():
        expected, read = read_volume(tmp_path / name), open_image(image).volume
        np.testing.assert_array_equal(read.voxels, expected.voxels)
        np.testing.assert_allclose(read.affine, expected.affine, atol=1e-5)
    loaded = LoadImage()(tmp_path / "a.nii.gz")  # channels last, as nibabel has them
    read = open_image(loaded).volume
    np.testing.assert_array_equal(read.voxels, volume.voxels)


def test_scaled_integers_are_what_the_file_reader_gives(tmp_path: Path) -> None:
    stored = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)
    image = nibabel.Nifti1Image(stored, oblique())
    image.header.set_slope_inter(0.1, -3)
    nibabel.save(image, tmp_path / "a.nii")
    expected = read_volume(tmp_path / "a.nii").voxels
    found = open_image(nibabel.load(tmp_path / "a.nii")).volume.voxels
    assert found.dtype == expected.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_an_affine_changed_in_memory_counts() -> None:
    image = scan().to_nibabel()
    image.affine[:3, 3] += 10
    np.testing.assert_allclose(
        open_image(image).volume.affine[:3, 3], oblique()[:3, 3] + 10, atol=1e-4
    )


def test_label_maps_go_back_as_the_kind_that_came() -> None:
    found = labels()
    for name, image in kinds(scan()).items():
        answer = open_image(image).answer(found)
        if name in ("array", "list"):
            array, affine = answer
            np.testing.assert_array_equal(array, found.voxels)
            np.testing.assert_array_equal(affine, found.affine)
        elif name == "volume":
            assert answer is found
        else:
            assert type(answer) is type(image)
            back = open_label_map(answer)
            np.testing.assert_array_equal(back.voxels, found.voxels, err_msg=name)
            np.testing.assert_allclose(back.affine, found.affine, atol=1e-4)
            assert Grid(SHAPE, oblique()).mismatch(back.grid) == ""


def test_a_2d_image_of_sitk_stays_one() -> None:
    picture = sitk.GetImageFromArray(np.arange(12, dtype=np.uint8).reshape(3, 4))
    picture.SetSpacing((0.5, 0.25))
    opened = open_image(picture)
    assert opened.volume.voxels.shape == (1, 4, 3, 1)
    answer = opened.answer(
        medseg.LabelMap(np.ones((4, 3, 1), np.uint8), opened.volume.affine)
    )
    assert answer.GetSize() == (4, 3)
    assert answer.GetSpacing() == (0.5, 0.25)


def test_metatensors_say_where_their_channels_are() -> None:
    plain = scan().to_monai()
    meta = {"spatial_shape": SHAPE}
    without = MetaTensor(plain[0].as_tensor(), affine=plain.affine, meta=meta)
    assert tuple(open_image(without).answer(labels()).shape) == SHAPE
    assert tuple(open_image(plain).answer(labels()).shape) == (1, *SHAPE)
    bare = MetaTensor(np.zeros((4, 5, 6)))
    with pytest.raises(InputError, match=r"MetaTensor of shape \(4, 5, 6\); expected"):
        open_image(bare)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4, 4)), r"give \(array, affine\)"),
        ((np.zeros((4, 4, 4)), np.eye(3)), r"affine has shape \(3, 3\), expected"),
        ((np.zeros(4), np.eye(4)), r"shape \(4,\), expected numbers with shape"),
        ((np.zeros((4, 4, 4), complex), np.eye(4)), "an array of complex128"),
        (7, "a int, expected a path, a Volume"),
        ({"image": 1}, "a dict, expected a path, a Volume"),
        ([scan(), medseg.Volume(scan().voxels, np.eye(4))], "image 2 does not lie on"),
    ],
)
def test_what_is_no_image_is_refused_in_words(image: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_image(image)


@pytest.mark.parametrize(
    ("dtype", "kept"), [("bool", "uint8"), ("float16", "float32"), ("uint16", "uint16")]
)
def test_voxel_types_that_libraries_lack(dtype: str, kept: str) -> None:
    volume = medseg.Volume(np.ones((1, *SHAPE), dtype), oblique())
    assert volume.to_nibabel().get_data_dtype() == kept
    assert sitk.GetArrayFromImage(volume.to_sitk()).dtype == kept
    assert volume.to_monai().numpy().max() == 1


def test_fractions_are_no_labels() -> None:
    with pytest.raises(InputError, match="expected one whole number for each voxel"):
        open_label_map((np.full(SHAPE, 0.5), oblique()))
    assert open_label_map((np.full(SHAPE, 2.0), oblique())).voxels.max() == 2
