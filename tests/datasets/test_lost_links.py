"""Links and special files of a data set that no case is made of are said."""

import os
from pathlib import Path

import nibabel
import numpy as np
import pytest

from medseg.datasets import load_dataset
from medseg.progress import Silent

pytestmark = pytest.mark.skipif(os.name != "posix", reason="links as POSIX has them")


class Lines(Silent):
    """Keeps warnings."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def warn(self, message: str) -> None:
        self.lines.append(message)


def volume(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = (np.arange(60).reshape(3, 4, 5) % 2).astype(np.uint8)
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), path)


def pairs(folder: Path, names: str) -> None:
    for name in names:
        volume(folder / "images" / f"{name}.nii.gz")
        volume(folder / "labels" / f"{name}.nii.gz")


def test_linked_folders_and_special_files_are_said(tmp_path: Path) -> None:
    pairs(tmp_path / "data", "ab")
    pairs(tmp_path / "elsewhere", "cd")
    (tmp_path / "data" / "images" / "more").symlink_to(tmp_path / "elsewhere/images")
    (tmp_path / "data" / "images" / "gone.nii.gz").symlink_to("nothere")
    os.mkfifo(tmp_path / "data" / "images" / "pipe.nii.gz")
    lines = Lines()
    dataset = load_dataset(tmp_path / "data", progress=lines)
    said = "\n".join(lines.lines)
    found = {case.case_id for case in dataset.cases}
    assert {"a", "b"} <= found
    assert "images/more" in said or {"c", "d"} <= found
    assert "pipe.nii.gz" in said


def test_a_data_set_of_links_is_used(tmp_path: Path) -> None:
    pairs(tmp_path / "elsewhere", "ab")
    for kind in ("images", "labels"):
        (tmp_path / "data" / kind).mkdir(parents=True)
        for path in (tmp_path / "elsewhere" / kind).iterdir():
            (tmp_path / "data" / kind / path.name).symlink_to(path)
    lines = Lines()
    dataset = load_dataset(tmp_path / "data", progress=lines)
    assert len(dataset.cases) == 2
    assert not any("not followed" in line for line in lines.lines)
