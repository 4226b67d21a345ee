"""What goes wrong ends in one clear line, the right exit code and no half file."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel
import numpy as np
import pytest
import yaml
from command_line import CONFIG, medseg

from medseg.testing.tiny_study import make_tiny_study


@pytest.fixture
def study(tiny_study: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_study, tmp_path / "study"))


def change(path: Path, edit: "callable") -> None:  # type: ignore[valid-type]
    image = nibabel.load(path)
    voxels = edit(np.asarray(image.dataobj))
    nibabel.save(nibabel.Nifti1Image(voxels, image.affine), path)


def plant_missing(study: Path) -> str:
    (study / "labelsTr" / "tiny_002.nii.gz").unlink()
    return "tiny_002"


def plant_truncated(study: Path) -> str:
    path = study / "imagesTr" / "tiny_002.nii.gz"
    path.write_bytes(path.read_bytes()[:2000])
    return "tiny_002.nii.gz"


def plant_other_shape(study: Path) -> str:
    change(study / "labelsTr" / "tiny_002.nii.gz", lambda v: v[1:])
    return "tiny_002"


def plant_nan(study: Path) -> str:
    def edit(voxels: np.ndarray) -> np.ndarray:
        changed = voxels.astype(np.float32)
        changed[3, 3, 3] = np.nan
        return changed

    change(study / "imagesTr" / "tiny_002.nii.gz", edit)
    return "NaN"


def plant_unknown_label(study: Path) -> str:
    def edit(voxels: np.ndarray) -> np.ndarray:
        changed = voxels.copy()
        changed[0, 0, 0] = 9
        return changed

    change(study / "labelsTr" / "tiny_002.nii.gz", edit)
    return "[9]"


PLANTS = [
    plant_missing,
    plant_truncated,
    plant_other_shape,
    plant_nan,
    plant_unknown_label,
]


@pytest.mark.parametrize("plant", PLANTS, ids=lambda p: p.__name__)
def test_prepare_names_the_case_and_leaves_no_store(
    plant: "callable",  # type: ignore[valid-type]
    study: Path,
    tmp_path: Path,
) -> None:
    expected = plant(study)
    done = medseg("prepare", study, "-o", tmp_path / "store", "--folds", "2")
    assert done.returncode == 2
    assert expected in done.stderr
    assert "tiny_002" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "store" / "store.json").exists()


@pytest.mark.parametrize("plant", PLANTS, ids=lambda p: p.__name__)
def test_doctor_finds_it_and_changes_nothing(
    plant: "callable",  # type: ignore[valid-type]
    study: Path,
) -> None:
    plant(study)
    before = {p: p.stat().st_mtime_ns for p in study.rglob("*")}
    done = medseg("doctor", study)
    assert done.returncode == 1
    assert "tiny_002" in done.stdout
    assert {p: p.stat().st_mtime_ns for p in study.rglob("*")} == before


def test_a_healthy_study_passes_the_doctor(tiny_study: Path) -> None:
    assert medseg("doctor", tiny_study).returncode == 0


@pytest.fixture
def read_only(tmp_path: Path, mount_disk: Callable[[str], Path]) -> Iterator[Path]:
    """A folder that nobody may write to, not even an administrator."""
    if os.geteuid() == 0:
        yield mount_disk("ro,size=16k")
        return
    folder = tmp_path / "sealed"
    folder.mkdir(mode=0o500)
    yield folder
    folder.chmod(0o700)


def leftovers(folder: Path) -> list[str]:
    return [p.name for p in folder.rglob("*") if ".part." in p.name]


@pytest.mark.parametrize("verb", ["prepare", "train"])
def test_a_full_disk_is_said_and_nothing_half_written_stays(
    verb: str, mount_disk: Callable[[str], Path], tmp_path: Path
) -> None:
    small_disk = mount_disk("size=300k")
    study = make_tiny_study(tmp_path / "big", shape=(48, 48, 48), num_cases=4)
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({**CONFIG, "prepare": {"num_folds": 2}}))
    out = small_disk / "out"
    if verb == "prepare":
        done = medseg("prepare", study, "-o", out, "--folds", "2")
    else:
        done = medseg("train", config, "--data", study, "-o", out)
    assert done.returncode == 2
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr
    assert leftovers(small_disk) == []


@pytest.mark.parametrize("verb", ["prepare", "train"])
def test_a_read_only_folder_is_said(
    verb: str, read_only: Path, tiny_study: Path, tmp_path: Path
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(CONFIG))
    if verb == "prepare":
        done = medseg("prepare", tiny_study, "-o", read_only / "out")
    else:
        done = medseg("train", config, "--data", tiny_study, "-o", read_only / "out")
    assert done.returncode == 2
    assert "cannot be written" in done.stderr
    assert len(done.stderr.strip().splitlines()[-1]) < 400
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["prepare", "nowhere", "-o", "x"], "nowhere"),
        (["train", "nowhere.yaml", "-o", "x"], "nowhere.yaml: no such file"),
        (["predict", "nowhere", "nowhere", "-o", "x"], "no model folder here"),
        (["train"], "name the run's folder: -o RUN"),
        (["predict"], "Missing argument"),
        (["fly"], "No such command"),
    ],
)
def test_wrong_requests_end_with_code_2(
    arguments: list[str], message: str, tmp_path: Path
) -> None:
    done = medseg(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_misspelt_setting_is_named(tiny_study: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("training:\n  optimiser: {}\n")
    done = medseg("train", config, "--data", tiny_study, "-o", tmp_path / "run")
    assert done.returncode == 2
    assert "training.optimiser: unknown key (nearest: optimizer)" in done.stderr


@pytest.mark.parametrize("loss", ["ce", "dice_ce"])
def test_training_that_diverges_fails_and_leaves_no_model(
    loss: str, tiny_study: Path, tmp_path: Path
) -> None:
    training = {
        **CONFIG["training"],
        "steps": 12,
        "loss": {"name": loss},
        "optimizer": {"name": "sgd", "learning_rate": 1e30},
    }
    config = tmp_path / "config.yaml"
    config.write_text(
        yaml.safe_dump({**CONFIG, "data": str(tiny_study), "training": training})
    )
    done = medseg("train", config, "-o", tmp_path / "run")
    assert done.returncode == 2
    assert "learning_rate" in done.stderr
    assert not (tmp_path / "run" / "model").exists()
