"""Data sets whose label maps name their structures, are noisy, or mark a rim."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medseg.datasets import load_dataset
from medseg.datasets.check_case import check_case
from medseg.datasets.doctor import examine
from medseg.errors import DatasetError
from medseg.io import read_label_map, write_label_map, write_volume
from medseg.labels import LabelScheme
from medseg.preparation.case_facts import read_case
from medseg.volume import LabelMap, Volume

SHAPE = (12, 11, 8)
GRID_I, GRID_J, GRID_K = np.indices(SHAPE)
DISTANCE = (GRID_I - 5) ** 2 + (GRID_J - 5) ** 2 + (GRID_K - 4) ** 2
TUMOUR, OEDEMA = DISTANCE < 5, (DISTANCE >= 5) & (DISTANCE < 12)


def at(number: int, voxels: np.ndarray) -> np.ndarray:
    """Voxels where they lie in a case."""
    return np.roll(voxels, number % 3 - 1 + 6 * (number // 3), axis=0)


def slicer(path: Path, values: dict[str, int], number: int) -> None:
    voxels = TUMOUR * values["tumour"] + OEDEMA * values["oedema"]
    voxels = at(number, voxels).astype(np.uint8)
    head = ["NRRD0004", "type: uchar", "dimension: 3", "sizes: 12 11 8"]
    head += ["space: left-posterior-superior", "space origin: (0,0,0)"]
    head += ["space directions: (1,0,0) (0,1,0) (0,0,2)", "encoding: raw"]
    for number, (name, value) in enumerate(values.items()):
        head += [
            f"Segment{number}_Name:={name}",
            f"Segment{number}_LabelValue:={value}",
        ]
    path.write_bytes(("\n".join(head) + "\n\n").encode() + voxels.tobytes(order="F"))


@pytest.fixture
def named(tmp_path: Path) -> Path:
    """Six cases: tumour is 1 in four of them and 2 in two."""
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    for number in range(6):
        rng = np.random.default_rng(number)
        image = 100 + 90 * TUMOUR + 40 * OEDEMA + rng.normal(0, 8, SHAPE)
        affine = np.diag([-1.0, -1.0, 2.0, 1.0])
        volume = Volume(image[None].astype(np.int16), affine)
        write_volume(tmp_path / "images" / f"case{number}.nrrd", volume)
        values = (
            {"tumour": 1, "oedema": 2} if number < 4 else {"oedema": 1, "tumour": 2}
        )
        slicer(tmp_path / "labels" / f"case{number}.seg.nrrd", values, number)
    return tmp_path


def test_names_in_the_files_are_the_scheme_and_decide(named):
    report = examine(named, workers=1)
    assert report.verdict == "nothing to complain about"
    assert report.dataset.scheme.names == {"tumour": 1, "oedema": 2}
    for number, case in enumerate(report.dataset.cases):
        _, label_map = read_case(case, report.dataset.scheme)
        expected = at(number, TUMOUR + 2 * OEDEMA)
        np.testing.assert_array_equal(label_map.voxels, expected)


def test_a_scheme_of_other_names_is_warned_of(named):
    report = examine(named, scheme=LabelScheme(names={"a": 1, "b": 2}), workers=1)
    messages = [finding.message for finding in report.findings]
    assert any("1 and 2 in different cases" in message for message in messages)
    assert {finding.case_id for finding in report.findings} == {"case4, case5"}


def test_names_cannot_tell_the_values_of_files_without_names(named):
    plain = LabelMap(TUMOUR.astype(np.uint8), np.diag([-1.0, -1.0, 2.0, 1.0]))
    (named / "labels" / "case0.seg.nrrd").unlink()
    write_label_map(named / "labels" / "case0.nrrd", plain)
    with pytest.raises(DatasetError, match="has several values"):
        load_dataset(named)


def pictures(folder: Path, values: np.ndarray, ending: str, **options: object) -> Path:
    """Three pictures of random noise with one label picture each."""
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number in range(3):
        rng = np.random.default_rng(number)
        image = rng.integers(0, 255, (*values.shape, 3)).astype(np.uint8)
        Image.fromarray(image).save(folder / "images" / f"{number}.png")
        picture = Image.fromarray(np.roll(values, number, 0))
        if options.get("mode") == "P":
            picture = picture.convert("P")
            picture.putpalette([n * 7 % 256 for n in range(768)])
        elif "mode" in options:
            picture = picture.convert(str(options["mode"]))
        picture.save(folder / "labels" / f"{number}{ending}")
    return folder


ROWS, COLUMNS = np.indices((64, 80))
DISC = (ROWS - 30) ** 2 + (COLUMNS - 40) ** 2
MASK = (DISC < 300).astype(np.uint8) * 255
VOC = np.where(DISC < 300, 15, 0).astype(np.uint8)
VOC[(DISC >= 300) & (DISC < 400)] = 255


@pytest.mark.parametrize("ending", [".jpg", ".png"])
def test_jpeg_masks_are_errors_that_say_which(tmp_path, ending):
    study = pictures(tmp_path, MASK, ".jpg")
    if ending == ".png":
        for path in (study / "labels").glob("*.jpg"):
            Image.open(path).save(path.with_suffix(".png"))
            path.unlink()
    report = examine(study, workers=1)
    errors = [f for f in report.findings if f.severity == "error"]
    assert [f.case_id for f in errors] == ["0", "1", "2"]
    assert all("JPEG compression" in f.message for f in errors)
    assert report.dataset.scheme.names == {"foreground": 255}


@pytest.mark.parametrize("mode", ["L", "P", "RGB", "RGBA", "LA"])
def test_doctor_and_prepare_read_pictures_of_labels_alike(tmp_path, mode):
    study = load_dataset(pictures(tmp_path, MASK // 255 * 3, ".png", mode=mode))
    for case in study.cases:
        facts = check_case(case, channels=study.channels, scheme=study.scheme)
        assert facts.findings == []
        assert facts.label_values == (0, 3)
        _, label_map = read_case(case, study.scheme)
        assert set(np.unique(label_map.voxels)) == {0, 3}


def test_a_rim_of_255_is_proposed_as_ignored(tmp_path):
    report = examine(pictures(tmp_path, VOC, ".png", mode="P"), workers=1)
    (finding,) = report.findings
    assert "255 lies along the borders of structures in 3 of 3" in finding.message
    assert "ignore: 255" in finding.repair
    (tmp_path / "dataset.yaml").write_text("labels: {person: 15}\nignore: 255\n")
    assert examine(tmp_path, workers=1).verdict == "nothing to complain about"


@pytest.mark.parametrize("value", [15, 255])
def test_structures_are_no_rim(tmp_path, value):
    labels = np.where(DISC < 300, value, 0).astype(np.uint8)
    labels[50:60, 5:25] = 1  # apart from the other
    report = examine(pictures(tmp_path, labels, ".png"), workers=1)
    assert not any("ignore" in finding.repair for finding in report.findings)


@pytest.mark.parametrize("name", ["void", "Ignore", "don't care", "unlabeled"])
def test_a_structure_named_as_ignored_is_proposed_as_such(tmp_path, name):
    study = pictures(tmp_path, VOC, ".png")
    (study / "dataset.yaml").write_text(f'labels: {{person: 15, "{name}": 255}}\n')
    (finding,) = examine(study, workers=1).findings
    assert "ignore: 255" in finding.repair


def test_a_label_map_turned_to_the_image_is_no_finding(named):
    path = named / "labels" / "case0.seg.nrrd"
    turned = read_label_map(path)
    affine = turned.affine @ np.array(
        [[-1.0, 0, 0, 11], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    )
    path.unlink()
    write_label_map(
        named / "labels" / "case0.nrrd", LabelMap(turned.voxels[::-1], affine)
    )
    scheme = LabelScheme(names={"tumour": 1, "oedema": 2})
    assert examine(named, scheme=scheme, workers=1).findings == ()
