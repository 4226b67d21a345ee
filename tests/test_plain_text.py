"""Messages name files as they lie below the input, and words stay words."""

from pathlib import Path

import pytest

from medseg.plain_text import below_folder

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
