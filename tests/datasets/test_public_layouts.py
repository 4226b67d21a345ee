"""The folders of public data sets as they unpack, and trees like them."""

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medseg.datasets import Dataset, load_dataset, make_splits
from medseg.datasets.doctor import examine
from medseg.errors import DatasetError
from medseg.preparation.completion import choose_splits
from medseg.progress import Silent

SHAPE = (8, 7, 6)


def image(path: Path, seed: int, *, shape: tuple[int, ...] = SHAPE) -> None:
    """A scan of noise, 1 x 1 x 2 mm."""
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = np.random.default_rng(seed).integers(0, 999, shape).astype(np.int16)
    nib.save(nib.Nifti1Image(voxels, np.diag([-1.0, 1, 2, 1])), path)


def label(path: Path, seed: int, *, value: int = 1, at: int = 0) -> None:
    """A label map of one block, another for each seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = np.zeros(SHAPE, dtype=np.uint8)
    voxels[at : at + 3, 1 + seed % 5, 1 + seed % 3] = value
    nib.save(nib.Nifti1Image(voxels, np.diag([-1.0, 1, 2, 1])), path)


def brats2018(root: Path, n: int) -> None:
    case = root / ("HGG" if n < 4 else "LGG") / f"Brats18_A{n}_1"
    for channel in ("flair", "t1"):
        image(case / f"{case.name}_{channel}.nii.gz", 10 * n + len(channel))
    label(case / f"{case.name}_seg.nii.gz", n)


def brats2023(root: Path, n: int) -> None:
    case = root / f"BraTS-GLI-{n // 2:05d}-{n % 2:03d}"
    for channel in ("t1n", "t2f"):
        image(case / f"{case.name}-{channel}.nii.gz", 100 * n + ord(channel[-1]))
    label(case / f"{case.name}-seg.nii.gz", n)


def acdc(root: Path, n: int) -> None:
    folder = root / "training" / f"patient{n:03d}"
    image(folder / f"{folder.name}_4d.nii.gz", n, shape=(*SHAPE, 3))
    for frame in (1, 12):
        name = f"{folder.name}_frame{frame:02d}"
        image(folder / f"{name}.nii.gz", 100 * n + frame)
        label(folder / f"{name}_gt.nii.gz", n, at=frame % 3)


def kits23(root: Path, n: int) -> None:
    case = root / f"case_{n:05d}"
    image(case / "imaging.nii.gz", n)
    label(case / "segmentation.nii.gz", n)
    for reader in (1, 2):
        name = f"kidney_instance-1_annotation-{reader}.nii.gz"
        label(case / "instances" / name, n + reader)


def totalsegmentator(root: Path, n: int) -> None:
    case = root / f"s{n:04d}"
    image(case / "ct.nii.gz", n)
    label(case / "segmentations" / "liver.nii.gz", n)
    label(case / "segmentations" / "spleen.nii.gz", n, at=4)


def masks_beside_images(root: Path, n: int) -> None:
    image(root / "images" / f"case_{n}.nii.gz", n)
    label(root / "masks" / f"case_{n}" / "liver.nii.gz", n)
    label(root / "masks" / f"case_{n}" / "spleen.nii.gz", n, at=4)


def lits(root: Path, n: int) -> None:
    folder = root / f"Training Batch {1 + n % 2}"
    image(folder / f"volume-{n}.nii", n)
    label(folder / f"segmentation-{n}.nii", n)


def hecktor(root: Path, n: int) -> None:
    image(root / "imagesTr" / f"CHUM-{n:03d}__CT.nii.gz", n)
    image(root / "imagesTr" / f"CHUM-{n:03d}__PT.nii.gz", n + 100)
    label(root / "labelsTr" / f"CHUM-{n:03d}.nii.gz", n)


def autopet(root: Path, n: int) -> None:
    study = root / f"PETCT_{n:04x}" / "05-11-2003-NA-PET-CT whole body"
    image(study / "CTres.nii.gz", n)
    image(study / "SUV.nii.gz", n + 100)
    image(study / "CT.nii.gz", n, shape=(16, 14, 6))
    label(study / "SEG.nii.gz", n)


def isles22(root: Path, n: int) -> None:
    subject = f"sub-strokecase{n:04d}"
    session = root / subject / "ses-0001"
    name = f"{subject}_ses-0001"
    image(session / "dwi" / f"{name}_dwi.nii.gz", n)
    image(session / "dwi" / f"{name}_adc.nii.gz", n + 100)
    image(session / "anat" / f"{name}_FLAIR.nii.gz", n, shape=(16, 7, 6))
    label(root / "derivatives" / subject / "ses-0001" / f"{name}_msk.nii.gz", n)


def atlas(root: Path, n: int) -> None:
    subject = f"sub-r001s{n:03d}"
    folder = root / "R001" / subject / "ses-1" / "anat"
    name = f"{subject}_ses-1_space-MNI152NLin2009aSym"
    image(folder / f"{name}_T1w.nii.gz", n)
    label(folder / f"{name}_label-L_desc-T1lesion_mask.nii.gz", n)


def openneuro(root: Path, n: int) -> None:
    folder = root / f"sub-{n:05d}" / "anat"
    name = f"sub-{n:05d}_acq-iso3dflair_FLAIR"
    image(folder / f"{name}.nii.gz", n)
    image(folder / f"sub-{n:05d}_T1w.nii.gz", n, shape=(9, 9, 9))
    label(folder / f"{name}_roi.nii.gz", n)


def wmh(root: Path, n: int) -> None:
    case = root / ("Utrecht" if n < 4 else "Singapore") / str(n)
    image(case / "pre" / "FLAIR.nii.gz", n)
    image(case / "pre" / "T1.nii.gz", n + 100)
    label(case / "wmh.nii.gz", n)


def msseg(root: Path, n: int) -> None:
    case = root / f"Patient_{n:02d}"
    image(case / "Preprocessed_Data" / "FLAIR_preprocessed.nii.gz", n)
    for name in ("ManualSegmentation_1", "ManualSegmentation_2", "Consensus"):
        label(case / "Masks" / f"{name}.nii.gz", n + (name == "Consensus"))


def sites(root: Path, n: int) -> None:
    image(root / "images" / f"site{'AB'[n % 2]}" / f"c{n}.nii.gz", n)
    label(root / "labels" / f"site{'AB'[n % 2]}" / f"c{n}.nii.gz", n)


def sessions(root: Path, n: int) -> None:
    folder = root / f"patient_{n // 2}" / f"scan_{n % 2}"
    image(folder / "t1.nii.gz", n)
    label(folder / "mask.nii.gz", n)


def words_within(root: Path, n: int) -> None:
    image(root / f"patient_image_{n:02d}.nii.gz", n)
    label(root / f"patient_mask_{n:02d}.nii.gz", n)


def label_of_a_folder(root: Path, n: int) -> None:
    for channel in ("t1", "t2"):
        image(
            root / "images" / f"case_{n}" / f"{channel}.nii.gz", 10 * n + len(channel)
        )
    label(root / "labels" / f"case_{n}.nii.gz", n)


Make = Callable[[Path, int], None]


def made(root: Path, make: Make, *, count: int = 6) -> Dataset:
    for n in range(count):
        make(root, n)
    return load_dataset(root)


@pytest.mark.parametrize(
    ("make", "cases", "patients", "channels"),
    [
        (brats2018, 6, 6, ("flair", "t1")),
        (brats2023, 6, 3, ("t1n", "t2f")),
        (acdc, 12, 6, ("image",)),
        (kits23, 6, 6, ("imaging",)),
        (totalsegmentator, 6, 6, ("ct",)),
        (masks_beside_images, 6, 6, ("image",)),
        (lits, 6, 6, ("image",)),
        (hecktor, 6, 6, ("CT", "PT")),
        (autopet, 6, 6, ("CTres", "SUV")),
        (isles22, 6, 6, ("adc", "dwi")),
        (atlas, 6, 6, ("space-MNI152NLin2009aSym_T1w",)),
        (openneuro, 6, 6, ("acq-iso3dflair_FLAIR",)),
        (wmh, 6, 6, ("FLAIR", "T1")),
        (msseg, 6, 6, ("FLAIR_preprocessed",)),
        (sites, 6, 6, ("image",)),
        (sessions, 6, 3, ("t1",)),
        (words_within, 6, 6, ("image",)),
        (label_of_a_folder, 6, 6, ("t1", "t2")),
    ],
)
def test_all_cases_with_the_right_patients(tmp_path, make, cases, patients, channels):
    study = made(tmp_path, make)
    assert (len(study.cases), len(study.patients)) == (cases, patients)
    assert study.channels == channels
    for case in study.cases:
        assert all(path.exists() for path in (*case.images, case.label))
        numbers = {_number_in(path) for path in (*case.images, case.label)}
        assert len(numbers) == 1, f"{case} mixes cases"


def _number_in(path: Path) -> str:
    """What tells one case's files from another's: all digits of the path below."""
    parts = path.as_posix().split("/")
    digits = ["".join(filter(str.isdigit, part)) for part in parts[5:]]
    return max(digits[:-1], key=len) if any(digits[:-1]) else digits[-1]


def test_a_consensus_wins_over_readers(tmp_path):
    study = made(tmp_path, msseg)
    assert {case.label.name for case in study.cases} == {"Consensus.nii.gz"}
    for path in tmp_path.rglob("Consensus.nii.gz"):
        path.unlink()
    with pytest.raises(DatasetError, match=r"several label maps, ManualSegmentation_1"):
        load_dataset(tmp_path)


def test_a_folder_of_masks_is_a_label_map(tmp_path):
    report_ = examine(_root(tmp_path, totalsegmentator), workers=1)
    assert report_.dataset.scheme.names == {"liver": 1, "spleen": 2}
    assert report_.verdict == "nothing to complain about"


def test_the_masks_that_a_description_names_are_taken(tmp_path):
    _root(tmp_path, totalsegmentator)
    (tmp_path / "dataset.yaml").write_text("labels: {spleen: 1}\n")
    report = examine(tmp_path, workers=1)
    assert report.verdict == "nothing to complain about"
    assert report.dataset.scheme.names == {"spleen": 1}


def test_a_missing_mask_is_named(tmp_path):
    _root(tmp_path, totalsegmentator)
    (tmp_path / "s0002" / "segmentations" / "liver.nii.gz").unlink()
    (finding,) = examine(tmp_path, workers=1).findings
    assert (finding.case_id, finding.kind) == ("s0002", "missing")
    assert "no mask of liver" in finding.message


def test_channels_elsewhere_are_left_out_and_said(tmp_path):
    study = made(tmp_path, autopet)
    assert "CT left out: not on the label maps' grid" in study.describe()


def test_a_description_chooses_the_channels(tmp_path):
    _root(tmp_path, autopet)
    (tmp_path / "dataset.yaml").write_text("channels: [SUV, CT]\n")
    study = load_dataset(tmp_path)
    assert study.channels == ("SUV", "CT")
    assert [p.name for p in study.cases[0].images] == ["SUV.nii.gz", "CT.nii.gz"]


def _root(root: Path, make: Make) -> Path:
    made(root, make)
    return root


SPLITS = {
    "split first": "{split}/{kind}/{name}.nii.gz",
    "kind first": "{kind}/{split}/{name}.nii.gz",
    "in one word": "{split}_{kind}/{name}.nii.gz",
    "in one folder": "{split}/{name}_{kind}.nii.gz",
}


@pytest.mark.parametrize("pattern", SPLITS.values(), ids=SPLITS)
@pytest.mark.parametrize(
    "words", [("train", "val", "test"), ("Training", "valid", "Test")]
)
def test_folders_called_train_val_and_test_are_a_split(tmp_path, pattern, words):
    for n, split in enumerate(np.repeat(words, 3)):
        name = f"{n % 3:03d}"  # the same names in every folder
        for kind, write in (("image", image), ("label", label)):
            write(tmp_path / pattern.format(split=split, kind=kind, name=name), n)
    study = load_dataset(tmp_path)
    assert len(study.cases) == 6
    assert len(study.test_cases) == 3
    assert len({case.case_id for case in (*study.cases, *study.test_cases)}) == 9
    (split,) = make_splits(study)
    files = {case.case_id: case.images[0].as_posix() for case in study.cases}
    assert len(split.val) == len(split.train) == 3
    assert all(words[1] in files[name] for name in split.val)
    assert all(words[0] in files[name] for name in split.train)


def test_test_images_without_label_maps_are_held_out(tmp_path):
    for n in range(4):
        image(tmp_path / "train" / "images" / f"{n}.nii.gz", n)
        label(tmp_path / "train" / "masks" / f"{n}.nii.gz", n)
    image(tmp_path / "test" / "images" / "9.nii.gz", 9)
    study = load_dataset(tmp_path)
    assert [case.case_id for case in study.test_cases] == ["9"]
    assert study.orphans == ()


def test_masks_of_other_names_than_the_images_are_refused_with_both(tmp_path):
    for n in range(3):
        image(tmp_path / "train" / "images" / f"scan{n}.nii.gz", n)
        label(tmp_path / "train" / "masks" / f"outline{n}.nii.gz", n)
    with pytest.raises(DatasetError) as caught:
        load_dataset(tmp_path)
    message = str(caught.value)
    assert "train/images/scan0.nii.gz" in message
    assert "train/masks/outline0.nii.gz" in message
    assert "case_id, patient_id, image" in message


def test_a_folder_name_that_speaks_of_labels_is_no_folder_of_labels(tmp_path):
    root = tmp_path / "Segmentation_Challenge"
    for n in range(3):
        image(root / f"case{n}" / "t1.nii.gz", n)
        label(root / f"case{n}" / "seg.nii.gz", n)
    assert len(load_dataset(tmp_path).cases) == 3


def test_a_folder_that_may_be_a_site_is_said(tmp_path):
    for n in range(6):
        image(
            tmp_path / "images" / "Utrecht North"[:: 1 - 2 * (n % 2)] / f"c{n}.nii.gz",
            n,
        )
        label(
            tmp_path / "labels" / "Utrecht North"[:: 1 - 2 * (n % 2)] / f"c{n}.nii.gz",
            n,
        )
    study = load_dataset(tmp_path)
    assert len(study.patients) == 2
    assert "name them in a table if it is none" in study.patient_source


def test_one_patient_guessed_for_all_cases_is_refused(tmp_path):
    for n in range(4):
        image(tmp_path / "all_of_them" / f"c{n}_image.nii.gz", n)
        label(tmp_path / "all_of_them" / f"c{n}_label.nii.gz", n)
    report = examine(tmp_path, workers=1)
    assert [f.kind for f in report.findings] == ["folds"]
    with pytest.raises(
        DatasetError, match=r"4 cases of one patient, all_of_them.*table"
    ):
        choose_splits(load_dataset(tmp_path), num_folds=5, seed=0, progress=Silent())
    rows = "\n".join(f"all_of_them_c{n},p{n}" for n in range(4))
    (tmp_path / "patients.csv").write_text(f"case_id,patient_id\n{rows}\n")
    study = load_dataset(tmp_path)
    splits = choose_splits(study, num_folds=2, seed=0, progress=Silent())
    assert [len(split.val) for split in splits] == [2, 2]


def test_one_patient_that_a_table_says_may_be_prepared(tmp_path):
    for n in range(3):
        image(tmp_path / f"c{n}_image.nii.gz", n)
        label(tmp_path / f"c{n}_label.nii.gz", n)
    (tmp_path / "patients.csv").write_text("case_id,patient_id\nc0,p\nc1,p\nc2,p\n")
    report = examine(tmp_path, workers=1)
    assert [f.severity for f in report.findings] == ["warning"]
    choose_splits(report.dataset, num_folds=5, seed=0, progress=Silent())


def test_what_lies_beside_images_and_labels_is_none_of_the_data(tmp_path):
    for n in range(3):
        image(tmp_path / "images" / f"{n}.nii.gz", n)
        label(tmp_path / "labels" / f"{n}.nii.gz", n)
        label(tmp_path / "predictions" / f"{n}.nii.gz", n + 1)
        image(tmp_path / "previews" / f"{n}.nii.gz", n)
    study = load_dataset(tmp_path)
    assert len(study.cases) == 3
    assert study.orphans == ()
