from dataclasses import replace

import numpy as np
import pytest

from medseg.datasets import Case, Dataset, load_dataset
from medseg.errors import DatasetError
from medseg.geometry import affine_from_spacing
from medseg.io import write_label_map, write_volume
from medseg.labels import LabelScheme
from medseg.preparation import make_fingerprint
from medseg.preparation.case_facts import measure
from medseg.volume import LabelMap, Volume

RNG = np.random.default_rng(0)


def dataset_of(folder, images, labels, *, spacing=(1, 1, 1), channel="MR") -> Dataset:
    """A data set written from arrays of shape (I, J, K)."""
    affine = affine_from_spacing(spacing)
    cases = []
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        name = f"case_{number}"
        paths = folder / "images" / f"{name}.nii.gz", folder / "labels" / f"{name}.nii"
        write_volume(paths[0], Volume(image[None], affine))
        write_label_map(paths[1], LabelMap(label, affine))
        cases.append(Case(name, name, (paths[0],), paths[1]))
    scheme = LabelScheme(names={"organ": 1, "lesion": 2}, ignore=9)
    return Dataset("set", folder, (channel,), scheme, tuple(cases))


def one_label() -> np.ndarray:
    label = np.zeros((6, 7, 8), dtype=np.uint8)
    label[1:3, 1:3, 1:3] = 1
    label[4, 4, 4] = label[4, 6, 6] = 2
    label[0] = 9
    return label


def test_classes_are_counted_by_hand(tmp_path) -> None:
    images = [RNG.normal(100, 10, (6, 7, 8)).astype(np.float32)] * 2
    labels = [one_label(), np.zeros((6, 7, 8), dtype=np.uint8)]
    found = make_fingerprint(dataset_of(tmp_path, images, labels))
    organ, lesion = found.classes
    assert (organ.num_cases, organ.voxels, organ.num_components) == (1, 8, 1)
    assert (lesion.num_cases, lesion.voxels, lesion.num_components) == (1, 2, 2)
    assert organ.fraction == pytest.approx(8 / (2 * 6 * 7 * 8 - 7 * 8))
    assert lesion.component_voxels == (1, 1, 1)


def test_intensities_are_those_inside_the_structures(tmp_path) -> None:
    label = one_label()
    image = np.where((label == 1) | (label == 2), 50, -3).astype(np.int16)
    found = make_fingerprint(dataset_of(tmp_path, [image], [label])).channels[0]
    assert (found.mean, found.std, found.percentile_99_5) == (50, 0, 50)
    assert (found.smallest, found.largest) == (-3, 50)
    assert found.integer_cases == 1


@pytest.mark.parametrize(
    ("channel", "lowest", "modality"),
    [
        ("CT", 0, "ct"),
        ("image", -1000, "ct"),
        ("image", 0, "other"),
        ("T1", -3, "other"),
    ],
)
def test_modality_follows_name_and_hounsfield_units(
    tmp_path, channel, lowest, modality
) -> None:
    image = RNG.integers(lowest, 900, (6, 7, 8)).astype(np.int16)
    image[0, 0, 0] = lowest
    dataset = dataset_of(tmp_path, [image], [one_label()], channel=channel)
    assert make_fingerprint(dataset).channels[0].modality == modality


def test_zero_margin_and_orientation_are_measured() -> None:
    affine = np.diag([-2.0, 1, 1, 1])[[1, 0, 2, 3]]  # i runs along A, j along L
    voxels = np.zeros((1, 6, 7, 8), dtype=np.float32)
    voxels[0, 2:4, 1:6, 0:8] = 1
    label = np.zeros((6, 7, 8), dtype=np.uint8)
    label[0, 0, 0] = 1
    found = measure(Volume(voxels, affine), label, 2, "x", reorient=True).facts
    assert found.shape == (7, 6, 8)
    assert found.cropped_shape == (5, 2, 8)
    assert found.spacing == (1, 2, 1)
    assert found.foreground_cropped == 1
    assert found.channels[0].zero_fraction == pytest.approx(1 - 80 / 336)


def test_measuring_twice_gives_the_same(tiny_study) -> None:
    dataset = load_dataset(tiny_study)
    assert make_fingerprint(dataset) == make_fingerprint(dataset)


def test_every_broken_case_is_named(tmp_path) -> None:
    image = RNG.normal(size=(6, 7, 8)).astype(np.float32)
    dataset = dataset_of(tmp_path, [image] * 5, [one_label()] * 5)
    dataset.cases[0].images[0].unlink()
    path = dataset.cases[1].images[0]
    path.write_bytes(path.read_bytes()[:200])
    label = LabelMap(np.zeros((3, 3, 3), dtype=np.uint8), np.eye(4))
    write_label_map(dataset.cases[2].label, label)
    image[3, 3, 3] = np.nan
    write_volume(dataset.cases[3].images[0], Volume(image[None], np.eye(4)))
    unknown = LabelMap(np.full((6, 7, 8), 4, dtype=np.uint8), np.eye(4))
    write_label_map(dataset.cases[4].label, unknown)
    with pytest.raises(DatasetError) as caught:
        make_fingerprint(dataset)
    text = str(caught.value)
    assert "5 of 5 cases cannot be used" in text
    assert "medseg doctor" in text
    for number, what in enumerate(["no such", "", "shape (3, 3, 3)", "NaN", "[4]"]):
        line = next(part for part in text.splitlines() if f"case_{number}" in part)
        assert what in line


def test_broken_cases_can_be_left_out(tmp_path) -> None:
    image = RNG.normal(size=(6, 7, 8)).astype(np.float32)
    dataset = dataset_of(tmp_path, [image] * 3, [one_label()] * 3)
    dataset.cases[1].images[0].unlink()
    found = make_fingerprint(dataset, skip_broken=True)
    assert [case.case_id for case in found.cases] == ["case_0", "case_2"]


def test_data_set_without_cases_is_refused(tiny_study) -> None:
    with pytest.raises(DatasetError, match="no case has an image and a label map"):
        make_fingerprint(replace(load_dataset(tiny_study), cases=()))
