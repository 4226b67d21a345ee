"""Folders that cannot take what is written: full, or read-only."""

import pytest

from medseg.datasets import load_dataset
from medseg.errors import OutputError
from medseg.preparation import prepare


@pytest.mark.parametrize("workers", [1, 2])
def test_full_disk_is_one_line_and_leaves_no_half_case(
    tiny_study, mount_disk, workers
) -> None:
    small_disk = mount_disk("size=96k")
    with pytest.raises(OutputError, match="cannot be written: No space left") as caught:
        prepare(load_dataset(tiny_study), small_disk, num_folds=3, workers=workers)
    assert "\n" not in str(caught.value)
    assert not [path for path in small_disk.rglob("*") if ".part." in path.name]
    whole = {path.name for path in (small_disk / "cases").iterdir()}
    for name in whole:
        assert (small_disk / "cases" / name / "case.json").stat().st_size > 0


def test_read_only_folder_is_one_line(tiny_study, mount_disk) -> None:
    with pytest.raises(OutputError, match="cannot be written: Read-only file system"):
        prepare(load_dataset(tiny_study), mount_disk("ro"), num_folds=3)
