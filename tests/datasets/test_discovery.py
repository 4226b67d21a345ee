"""Labels that nobody named."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from medseg.datasets.discovery import discover_scheme
from medseg.datasets.label_noise import values_in
from medseg.datasets.overrides import DatasetOverrides
from medseg.errors import DatasetError
from medseg.io import write_label_map
from medseg.labels import LabelScheme
from medseg.progress import Silent
from medseg.volume import LabelMap


def maps(folder: Path, *values: list[int]) -> list[Path]:
    paths = []
    for number, found in enumerate(values):
        path = folder / f"{number}.nii.gz"
        voxels = np.array(found, dtype=np.int32).reshape(1, 1, -1)
        write_label_map(path, LabelMap(voxels, np.eye(4)))
        paths.append(path)
    return paths


def discover(folder: Path, *values: list[int], known: DatasetOverrides | None = None):
    return discover_scheme(
        maps(folder, *values), root=folder, known=known or DatasetOverrides()
    )


@given(
    npst.arrays(st.sampled_from([np.uint8, np.uint16, np.int16, np.int32]), (3, 4, 2))
)
def test_values_are_those_that_occur(voxels):
    assert values_in(voxels) == tuple(np.unique(voxels).tolist())


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ([[0, 1], [0, 2]], {"label_1": 1, "label_2": 2}),
        ([[0, 255], [0, 0]], {"foreground": 255}),
        ([[0, 1]], {"foreground": 1}),
        ([[0, 1, 7, 8, 9]], {f"label_{v}": v for v in (1, 7, 8, 9)}),
    ],
)
def test_names_follow_values(tmp_path, values, names):
    assert discover(tmp_path, *values).names == names


def test_values_that_number_objects_are_one_structure(tmp_path):
    scheme = discover(tmp_path, [0, *range(1, 13)], [0, 1, 2, 3], [0, 1])
    assert scheme == LabelScheme(names={"object": 1}, instances=True)


def test_many_structures_with_gaps_are_no_objects(tmp_path):
    scheme = discover(tmp_path, [0, *range(1, 13)], [0, 5, 9], [0, 2])
    assert len(scheme.structures) == 12


def test_what_is_known_is_not_read(tmp_path):
    scheme = LabelScheme(names={"organ": 1})
    missing = [tmp_path / "missing.nii.gz"]
    known = DatasetOverrides(scheme=scheme)
    assert discover_scheme(missing, root=tmp_path, known=known) is scheme


def test_a_file_that_cannot_be_read_is_passed_over(tmp_path):
    paths = maps(tmp_path, [0, 3])
    (tmp_path / "bad.nii.gz").write_bytes(b"no image")
    paths.append(tmp_path / "bad.nii.gz")
    scheme = discover_scheme(paths, root=tmp_path, known=DatasetOverrides())
    assert scheme.names == {"foreground": 3}


def test_only_empty_label_maps_are_refused(tmp_path):
    with pytest.raises(DatasetError, match="hold 0 values beside 0"):
        discover(tmp_path, [0, 0])


def test_images_instead_of_labels_are_refused(tmp_path):
    with pytest.raises(DatasetError, match="are they images"):
        discover(tmp_path, list(range(0, 900, 3)))


def test_no_readable_label_map_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="none of 1 label maps can be read"):
        discover_scheme(
            [tmp_path / "a.nii.gz"], root=tmp_path, known=DatasetOverrides()
        )


def test_what_was_found_is_said(tmp_path):
    said = []

    class Listening(Silent):
        def say(self, message: str) -> None:
            said.append(message)

    discover(tmp_path, [0, 4], known=DatasetOverrides(progress=Listening()))
    assert said == [
        f"{tmp_path}: labels found in the files: 0 background, 4 foreground"
    ]
