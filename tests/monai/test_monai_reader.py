"""medseg.monai.MedsegReader in MONAI's LoadImage."""

import pickle
import warnings

import numpy as np
import pytest
import torch
from dicom_phantom import voxels, write_series
from monai.transforms import Compose, EnsureChannelFirstd, LoadImage, LoadImaged

import medseg
from medseg.errors import InputError
from medseg.geometry import affine_from_spacing
from medseg.io import read_volume, write_label_map, write_volume
from medseg.volume import LabelMap, Volume

AFFINE = affine_from_spacing((0.8, 1.0, 2.5))
AFFINE[:3, 3] = -3, 7, 11
MONAIS = "ignore:.*NvImgCodec.*:UserWarning"
pytestmark = pytest.mark.filterwarnings(MONAIS)


def load(path, **kwargs):
    reader = medseg.monai.MedsegReader(**kwargs)
    return LoadImage(reader=reader, ensure_channel_first=True)(path)


def assert_read_as_medseg_does(path):
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        found, expected = load(path), read_volume(path)
    np.testing.assert_array_equal(found.numpy(), expected.voxels.astype(np.float32))
    np.testing.assert_array_equal(found.affine.numpy(), expected.affine)
    return found


@pytest.mark.parametrize("suffix", ["nii.gz", "nrrd", "mha"])
@pytest.mark.parametrize("channels", [1, 3])
def test_files(tmp_path, suffix, channels):
    image = np.arange(channels * 5 * 4 * 3, dtype=np.float32).reshape(channels, 5, 4, 3)
    path = tmp_path / f"a.{suffix}"
    write_volume(path, Volume(image, AFFINE))
    found = assert_read_as_medseg_does(path)
    assert found.shape == (channels, 5, 4, 3)


def test_a_tilted_series_with_a_gap(tmp_path):
    heights = [0.0, 2.5, 5.0, 10.0, 12.5]
    write_series(tmp_path / "ct", voxels(), heights=heights, tilt=0.2)
    with pytest.warns(UserWarning, match="gantry|gap|missing|tilt"):
        load(tmp_path / "ct")
    found = assert_read_as_medseg_does(tmp_path / "ct")
    assert found.shape[-1] == 6  # the missing slice is there
    axes = found.affine[:3, :3]
    assert torch.allclose(axes.T @ axes, torch.diag(torch.diag(axes.T @ axes)))


def test_a_series_is_chosen_from_a_tree(tmp_path):
    tree = tmp_path / "study"
    write_series(tree / "a", voxels(seed=1), SeriesNumber=2)
    write_series(tree / "b", voxels(seed=2), SeriesNumber=5)
    found = load(tree, series="SeriesNumber=5")
    np.testing.assert_array_equal(
        found.numpy(), read_volume(tree / "b").voxels.astype(np.float32)
    )
    with pytest.raises(InputError, match="chooses 2 volumes, expected one"):
        load(tree, series="Modality=CT")
    with pytest.raises(InputError, match="chooses 0 volumes, expected one"):
        load(tree, series="Modality=PT")


def test_what_medseg_refuses_is_not_read_by_another_reader(tmp_path):
    """LoadImage falls back to its own readers where one raises while opening."""
    tree = tmp_path / "study"
    write_series(tree, voxels(seed=1), seed=1)
    write_series(tree / "b", voxels(seed=2), seed=2)
    with pytest.raises(InputError, match="2 volumes, expected one"):
        load(tree)


def test_other_formats_are_left_to_other_readers(tmp_path):
    array = np.arange(6.0).reshape(2, 3)
    np.save(tmp_path / "a.npy", array)
    reader = medseg.monai.MedsegReader()
    np.testing.assert_array_equal(LoadImage(reader=reader)(tmp_path / "a.npy"), array)
    assert not reader.verify_suffix(tmp_path / "a.npy")


def test_several_files_are_channels(tmp_path):
    paths = [tmp_path / f"{n}.nii.gz" for n in range(2)]
    for number, path in enumerate(paths):
        image = np.full((1, 5, 4, 3), number, np.float32)
        write_volume(path, Volume(image, AFFINE))
    found = load(paths)
    assert found.shape == (2, 5, 4, 3)
    assert found[1].unique() == 1


def test_pictures_have_two_axes(tmp_path):
    picture = np.arange(60, dtype=np.uint8).reshape(3, 5, 4, 1)
    write_volume(tmp_path / "a.png", Volume(picture, np.eye(4)))
    found = load(tmp_path / "a.png")
    assert found.shape == (3, 5, 4)
    assert found.affine.shape == (3, 3)
    np.testing.assert_array_equal(found.numpy(), picture[..., 0])


def test_labels(tmp_path):
    labels = np.random.default_rng(0).integers(0, 3, (5, 4, 3)).astype(np.uint8)
    path = tmp_path / "labels.nii.gz"
    write_label_map(path, LabelMap(labels, AFFINE))
    np.testing.assert_array_equal(load(path, labels=True)[0].numpy(), labels)
    np.testing.assert_array_equal(load(path)[0].numpy(), labels)


@pytest.mark.parametrize("as_string", [True, False])
def test_dictionaries_and_names(tmp_path, as_string):
    path = tmp_path / "a.nii.gz"
    write_volume(path, Volume(np.ones((1, 5, 4, 3), np.float32), AFFINE))
    reader = (
        "medseg.monai.reader.MedsegReader" if as_string else medseg.monai.MedsegReader
    )
    chain = Compose([LoadImaged("image", reader=reader), EnsureChannelFirstd("image")])
    item = chain({"image": path})
    assert item["image"].shape == (1, 5, 4, 3)
    assert item["image"].meta["filename_or_obj"] == str(path)


def test_readers_travel_to_workers():
    reader = pickle.loads(pickle.dumps(medseg.monai.MedsegReader("Modality=CT")))
    assert reader.series == "Modality=CT"
