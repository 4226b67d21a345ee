"""Corrected copies: what follows from the files is repaired, the rest is listed."""

import csv
import struct
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from medseg.cli.app import app
from medseg.datasets import load_dataset
from medseg.datasets.doctor import examine
from medseg.datasets.repair import repair
from medseg.errors import OutputError
from medseg.files import hash_file
from medseg.io import read_label_map, read_volume, write_label_map, write_volume
from medseg.testing.tiny_study import make_tiny_study
from medseg.volume import LabelMap, Volume

NAME = "tiny_002.nii.gz"


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return make_tiny_study(tmp_path / "study", num_cases=4, shape=(8, 9, 7))


def relabelled(study: Path, change: Callable[[LabelMap], LabelMap]) -> Path:
    path = study / "labelsTr" / NAME
    write_label_map(path, change(read_label_map(path)))
    return path


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "repairs.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def turned_label(study: Path) -> None:
    flip = np.diag([-1.0, 1, 1, 1])
    flip[0, 3] = 7
    relabelled(study, lambda m: LabelMap(m.voxels[::-1], m.affine @ flip))


def cropped_label(study: Path) -> None:
    """The label map on a part of the image's grid, which holds all structures."""

    def crop(label_map: LabelMap) -> LabelMap:
        shift = np.eye(4)
        shift[:3, 3] = 1
        return LabelMap(label_map.voxels[1:, 1:, 1:], label_map.affine @ shift)

    relabelled(study, crop)


def float_label(study: Path) -> None:
    path = study / "labelsTr" / NAME
    label = read_label_map(path)
    write_volume(path, Volume(label.voxels[None].astype(np.float32), label.affine))


def contradicting_header(study: Path) -> None:
    path = study / "imagesTr" / NAME
    image = nib.load(path)
    wrong = image.affine.copy()
    wrong[0, 3] += 30
    image.set_qform(wrong, 1)
    nib.save(image, path)


def sheared(study: Path) -> None:
    lean = np.eye(4)
    lean[0, 1] = 0.2
    for folder in ("imagesTr", "labelsTr"):
        path = study / folder / NAME
        image = nib.load(path)
        moved = nib.Nifti1Image(np.asarray(image.dataobj), image.affine @ lean)
        moved.set_qform(None, 0)
        nib.save(moved, path)


def mended_sign(study: Path) -> None:
    """A qform alone, whose sign is 0, in the image and its label map."""
    for folder in ("imagesTr", "labelsTr"):
        path = study / folder / NAME
        image = nib.load(path)
        image.set_qform(image.affine, 1)
        image.set_sform(None, 0)
        plain = path.with_suffix("")
        nib.save(image, plain)
        data = bytearray(plain.read_bytes())
        struct.pack_into("<f", data, 76, 0.0)
        plain.unlink()
        import gzip

        path.write_bytes(gzip.compress(bytes(data)))


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (turned_label, "axes turned, exactly"),
        (cropped_label, "resampled by vote"),
        (float_label, "labels stored as whole numbers"),
        (contradicting_header, "header written anew"),
        (sheared, "resampled onto a straight grid"),
        (mended_sign, "header written anew"),
    ],
)
def test_what_follows_from_the_files_is_repaired(study, tmp_path, spoil, what):
    spoil(study)
    before = {path: hash_file(path) for path in study.rglob("*.*")}
    out = tmp_path / "out"
    result = repair(examine(study, workers=1), out)
    assert result.left == ()
    assert what in " ".join(change.what for change in result.done)
    assert {row["case_id"] for row in table(out)} == {"tiny_002"}
    assert all(row["why"] and (out / row["copy"]).exists() for row in table(out))
    assert {path: hash_file(path) for path in before} == before
    again = examine(out / "manifest.csv", workers=1)
    assert again.verdict == "nothing to complain about"
    assert len(again.dataset.cases) == 4
    assert again.dataset.patients == load_dataset(study).patients


def test_turned_and_cropped_label_maps_come_back_voxel_for_voxel(study, tmp_path):
    expected = read_label_map(study / "labelsTr" / NAME)
    for spoil in (turned_label, cropped_label):
        out = tmp_path / spoil.__name__
        spoil(study)
        repair(examine(study, workers=1), out)
        found = read_label_map(out / "labels" / NAME)
        assert not expected.grid.mismatch(found.grid)
        np.testing.assert_array_equal(found.voxels, expected.voxels)
        write_label_map(study / "labelsTr" / NAME, expected)


def moved_label(study: Path) -> None:
    def move(label_map: LabelMap) -> LabelMap:
        affine = label_map.affine.copy()
        affine[2, 3] += 40
        return LabelMap(label_map.voxels, affine)

    relabelled(study, move)


def unknown_value(study: Path) -> None:
    def change(label_map: LabelMap) -> LabelMap:
        voxels = label_map.voxels.copy()
        voxels[0, 0, 0] = 7
        return LabelMap(voxels, label_map.affine)

    relabelled(study, change)


def missing_image(study: Path) -> None:
    (study / "imagesTr" / NAME).unlink()


def not_finite(study: Path) -> None:
    path = study / "imagesTr" / NAME
    image = read_volume(path)
    voxels = image.voxels.astype(np.float32)
    voxels[0, 0, 0, 0] = np.nan
    write_volume(path, Volume(voxels, image.affine))


@pytest.mark.parametrize(
    "spoil", [moved_label, unknown_value, missing_image, not_finite]
)
def test_what_would_be_a_guess_is_listed_and_left(study, tmp_path, spoil):
    spoil(study)
    report = examine(study, workers=1)
    result = repair(report, tmp_path / "out")
    assert result.done == ()
    assert len(result.left) == len(report.findings) > 0
    (row,) = table(tmp_path / "out")
    assert (row["case_id"], row["copy"]) == ("tiny_002", "")
    assert "would be a guess" in row["why"]


def test_noise_in_a_mask_of_one_structure_is_cleared(tmp_path):
    rows, columns = np.indices((48, 60))
    for number in range(3):
        mask = ((rows - 24) ** 2 + (columns - 25 - number) ** 2 < 120) * 255
        image = np.random.default_rng(number).integers(0, 255, mask.shape)
        for folder, picture in (("images", image), ("masks", mask)):
            (tmp_path / "d" / folder).mkdir(parents=True, exist_ok=True)
            name = f"{number}.{'png' if folder == 'images' else 'jpg'}"
            picture = Image.fromarray(picture.astype(np.uint8))
            picture.save(tmp_path / "d" / folder / name)
    report = examine(tmp_path / "d", workers=1)
    result = repair(report, tmp_path / "out")
    assert result.left == ()
    for number in range(3):
        mask = ((rows - 24) ** 2 + (columns - 25 - number) ** 2 < 120) * 255
        found = read_label_map(tmp_path / "out" / "labels" / f"{number}.tif")
        np.testing.assert_array_equal(found.voxels[..., 0].T, mask)
    again = examine(tmp_path / "out" / "manifest.csv", workers=1)
    assert again.verdict == "nothing to complain about"


def test_a_folder_that_holds_something_is_refused(study, tmp_path):
    with pytest.raises(OutputError, match="holds something already"):
        repair(examine(study, workers=1), study)


def test_the_verb_writes_the_copies_and_says_so(study, tmp_path):
    float_label(study)
    out = tmp_path / "out"
    result = CliRunner().invoke(app, ["doctor", str(study), "--repair", str(out)])
    assert result.exit_code == 1  # as without: findings were made
    assert "1 corrected copies" in result.output
    assert (out / "manifest.csv").exists()
