"""Configurations by name: in a source tree, in a wheel, beside files of the user's."""

import tomllib
from pathlib import Path

import pytest

from medseg import shipped_configs
from medseg.errors import MissingFileError, SettingsError
from medseg.runs.config import read_config
from medseg.shipped_configs import find_config, shipped_names
from medseg.studies.study import read_study

ROOT = Path(__file__).parent.parent
NAMES = sorted(path.stem for path in (ROOT / "configs").glob("*.yaml"))


def test_every_file_of_the_repository_has_its_name() -> None:
    assert list(shipped_names()) == NAMES
    assert "hippocampus_3d" in NAMES


@pytest.mark.parametrize(
    "text", ["lesions_3d", "lesions_3d.yaml", "configs/lesions_3d.yaml"]
)
def test_a_name_is_found_from_any_folder(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_config(Path(text)) == ROOT / "configs" / "lesions_3d.yaml"
    assert read_config(Path(text), []).training.loss.name == "dice_focal"


def test_the_users_own_file_goes_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("lesions_3d.yaml").write_text("fold: 3\n")
    Path("hippocampus_3d").mkdir()  # a folder of that name is no configuration
    assert read_config(Path("lesions_3d.yaml"), []).fold == 3
    assert find_config(Path("hippocampus_3d")).is_file()


def test_a_name_that_is_not_there_has_a_nearest() -> None:
    with pytest.raises(MissingFileError, match=r"\(nearest: nuclei_2d\); these are co"):
        find_config(Path("nucleii_2d"))
    with pytest.raises(MissingFileError, match=r"elsewhere/nuclei_2d\.yaml: no such"):
        find_config(Path("elsewhere/nuclei_2d.yaml"))


def test_a_study_takes_a_base_by_name(tmp_path: Path) -> None:
    study = tmp_path / "mine.yaml"
    study.write_text(
        "name: mine\nbase: lesions_3d\nvariations: {a: {}, b: {training: {seed: 1}}}\n"
    )
    _, runs = read_study(study)
    assert {run.config.training.loss.name for run in runs} == {"dice_focal"}
    _, runs = read_study(Path("compare_losses"))
    assert len(runs) == 18


def test_the_wheel_carries_the_one_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = settings["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["force-include"]["configs"] == "medseg/configs"
    assert not (ROOT / "medseg" / "configs").exists()
    package = tmp_path / "site-packages" / "medseg"
    (package / "configs").mkdir(parents=True)
    (package / "configs" / "one.yaml").write_text("fold: 1\n")
    monkeypatch.setattr(shipped_configs, "_PACKAGE", package)
    assert shipped_names() == ("one",)


def test_a_folder_configs_of_others_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "configs").mkdir()
    monkeypatch.setattr(shipped_configs, "_PACKAGE", tmp_path / "medseg")
    with pytest.raises(MissingFileError, match="install medseg again"):
        shipped_names()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: p.write_text("name: x\nlabels: {a: 1}\n"), "describes a data set"),
        (lambda p: p.write_text("name: x\nvariations: {a: {}}\n"), "medseg compare"),
        (lambda p: p.write_text("network: {}\npatch_size: [8]\n"), "--plan"),
        (lambda p: p.write_text("weights_sha256: x\n"), "describes a model"),
        (lambda p: p.mkdir(), "a folder, where .* medseg train --data"),
        (
            lambda p: _folder(p, "config.yaml"),
            "a run; to continue it, medseg train --r",
        ),
        (lambda p: _folder(p, "store.json"), "a prepared store; write medseg train --"),
        (lambda p: _folder(p, "model.yaml"), "a model folder; medseg predict takes it"),
        (lambda p: p.write_text("- a\n- b\n"), "must hold keys of its own"),
    ],
)
def test_what_is_no_configuration_is_told_so(
    make, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "given.yaml"
    make(path)
    with pytest.raises(SettingsError, match=message) as caught:
        read_config(path, [])
    assert "given.yaml" in str(caught.value)


@pytest.mark.parametrize(
    "name", ["a.csv", "a.tsv", "dataset.json", "scan.nii.gz", "a.dcm"]
)
def test_a_table_or_a_scan_is_told_so(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("x")
    with pytest.raises(SettingsError, match=r"a data set, where|a scan, where"):
        read_config(tmp_path / name, [])


def _folder(path: Path, name: str) -> None:
    path.mkdir()
    (path / name).write_text("{}")
