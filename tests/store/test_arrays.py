import numpy as np
import pytest

from medseg.store.arrays import open_array, write_array
from medseg.store.stored_case import to_stored

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("how", ["none", "lz4"])
@pytest.mark.parametrize("shape", [(2, 70, 65, 3), (1, 5, 4, 1), (3, 64, 64, 64)])
def test_boxes_read_back_as_written(tmp_path, how, shape) -> None:
    array = RNG.normal(size=shape).astype(np.float16)
    write_array(tmp_path, "image", array, how)
    stored = open_array(tmp_path, "image")
    np.testing.assert_array_equal(np.asarray(stored[:]), array)
    box = (slice(None), slice(1, 4), slice(2, 4), slice(0, 1))
    np.testing.assert_array_equal(np.asarray(stored[box]), array[box])


@pytest.mark.parametrize("how", ["none", "lz4"])
def test_label_maps_read_back_as_written(tmp_path, how) -> None:
    array = RNG.integers(0, 5, (20, 90, 33)).astype(np.uint8)
    write_array(tmp_path, "label", array, how)
    np.testing.assert_array_equal(np.asarray(open_array(tmp_path, "label")[:]), array)


def test_compressed_label_maps_are_small(tmp_path) -> None:
    array = np.zeros((64, 64, 64), dtype=np.uint8)
    write_array(tmp_path, "label", array, "lz4")
    assert (tmp_path / "label.b2nd").stat().st_size < array.size / 100


def test_nothing_written_goes_back_to_the_file(tmp_path) -> None:
    write_array(tmp_path, "x", np.zeros((2, 2, 2)), "none")
    open_array(tmp_path, "x")[...] = 1
    assert (open_array(tmp_path, "x") == 0).all()


def test_missing_array_is_named(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match=r"image\.npy"):
        open_array(tmp_path, "image")


def test_half_precision_loses_less_than_a_thousandth() -> None:
    image = RNG.normal(size=(1, 30, 30, 30)).astype(np.float32) * 3
    error = np.abs(to_stored(image).astype(np.float32) - image)
    assert (error <= np.abs(image) / 2048 + 1e-7).all()


def test_intensities_too_large_for_half_precision_stay_single() -> None:
    image = np.full((1, 2, 2, 2), 1.7e6, dtype=np.float32)
    np.testing.assert_array_equal(to_stored(image), image)
