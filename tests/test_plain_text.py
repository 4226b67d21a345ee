"""Messages name files as they lie below the input, and words stay words."""

from pathlib import Path

import pytest

from medseg.plain_text import below_folder, without_folders

WORDS = "less contrast than in training: it may show nothing in a main slice"


@pytest.mark.parametrize("folder", ["in", "a", "main", "slice", "training", ".", "/"])
def test_words_stay_as_they_are(folder: str) -> None:
    assert below_folder(WORDS.replace("training:", "training,"), Path(folder)) == (
        WORDS.replace("training:", "training,")
    )


@pytest.mark.parametrize(
    ("folder", "text", "expected"),
    [
        ("in", "in/a.nii: damaged", "a.nii: damaged"),
        ("in", "cannot read in/deep/a.nii", "cannot read deep/a.nii"),
        ("in", "in: no permission", ".: no permission"),
        ("/data/in", "/data/in/a.nii: nothing in it", "a.nii: nothing in it"),
        ("/data/in", "no room below /data/in", "no room below ."),
        ("/data/in", "/data/in.", ".."),
        ("/data/in", "/data/inner/a.nii", "/data/inner/a.nii"),
        ("/data/in", "/data/in-2/a.nii", "/data/in-2/a.nii"),
        ("/data/in", "/other/data/in/a.nii", "/other/data/in/a.nii"),
        ("Smith_J", "the folder Smith_J is locked", "the folder . is locked"),
        ("scans.v1", "'scans.v1/a.nii' and (scans.v1)", "'a.nii' and (.)"),
    ],
)
def test_paths_are_written_below(folder: str, text: str, expected: str) -> None:
    assert below_folder(text, Path(folder)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/home/j.smith/data/a.nii.gz: damaged", "a.nii.gz: damaged"),
        ("begins with /mnt/models/old run", "begins with old run"),
        ("('/srv/x/y', \"/srv/x/z\")", "('y', \"z\")"),
        (r"C:\Users\smith\a.nii: damaged", "a.nii: damaged"),
        ("sqlite:////home/smith/mlflow.db", "mlflow.db"),
        ("file:///home/smith/a.png", "a.png"),
        ("kept at http://host:5000/api/runs/3", "kept at http://host:5000/api/runs/3"),
        ("12/34 of 5 mm/voxel, and/or", "12/34 of 5 mm/voxel, and/or"),
        ("imagesTr/a.nii.gz", "imagesTr/a.nii.gz"),
        ("/data/Anna Smith/set/imagesTr/a.nii: short", "imagesTr/a.nii: short"),
        ("in /data/Anna Smith/set nothing", "in set nothing"),
        ("/data/Anna Smith/set-2/a.nii: short", "a.nii: short"),
        ("/a/b and /c/d", "b and d"),
        (r"'D:\My Data\a b.nii' is empty", "'a b.nii' is empty"),
        ("", ""),
    ],
)
def test_folders_of_a_machine_are_left_out(text: str, expected: str) -> None:
    known = [Path("/data/Anna Smith/set"), Path("/")]
    assert without_folders(text, known) == expected
