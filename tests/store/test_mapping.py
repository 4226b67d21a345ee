import numpy as np

from medseg.store.arrays import MappedArrays, write_array


def folder_with(path, names) -> None:
    for number, name in enumerate(names):
        write_array(path, name, np.full(1000, number, dtype=np.uint8), "none")


def test_recently_used_arrays_stay_open(tmp_path) -> None:
    folder_with(tmp_path, "abc")
    mapped = MappedArrays(most_bytes=2500)
    first = mapped.get(tmp_path, "a")
    mapped.get(tmp_path, "b")
    assert mapped.get(tmp_path, "a") is first
    mapped.get(tmp_path, "c")  # gives up b
    assert mapped.get(tmp_path, "a") is first
    assert len(mapped._open) == 2
    assert mapped._bytes == 2000


def test_array_that_was_given_up_can_still_be_read(tmp_path) -> None:
    folder_with(tmp_path, "ab")
    mapped = MappedArrays(most_bytes=1)
    first = mapped.get(tmp_path, "a")
    assert mapped.get(tmp_path, "b")[0] == 1
    assert first[-1] == 0


def test_changed_folder_is_opened_anew(tmp_path) -> None:
    folder_with(tmp_path, "a")
    mapped = MappedArrays()
    mapped.get(tmp_path, "a")
    write_array(tmp_path, "a", np.full(10, 7, dtype=np.uint8), "none")
    mapped.forget(tmp_path)
    assert mapped.get(tmp_path, "a")[0] == 7
    assert mapped._bytes == 10
