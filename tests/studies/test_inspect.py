"""`medseg inspect`: the network that a path names, and a page about it."""

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from medseg.cli import app
from medseg.errors import MissingFileError, SettingsError
from medseg.store import Store
from medseg.studies.inspect import find_subject, inspect

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
STUDIES = ["compare_networks_2d.yaml", "compare_networks_3d.yaml"]
TINY = {"name": "unet", "channels": [4, 8], "strides": [1, 2]}


def write_config(folder: Path, plan: dict) -> Path:
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump({"plan": plan}), encoding="utf-8")
    return path


def variations(study: str) -> list[tuple[str, str]]:
    values = yaml.safe_load((CONFIGS / study).read_text(encoding="utf-8"))
    return [(study, name) for name in values["variations"]]


@pytest.mark.parametrize(
    ("study", "name"), [pair for study in STUDIES for pair in variations(study)]
)
def test_every_network_of_the_studies_can_be_named(study: str, name: str) -> None:
    size = [64, 64] if "2d" in study else [32, 32, 32]
    if name == "unet_original":  # unpadded: not every size can be taken
        size = [92, 92] if "2d" in study else [44, 44, 44]
    subject = find_subject(
        CONFIGS / study, [f"variation={name}", f"plan.patch_size={size}"]
    )
    assert subject.network.spatial_dims == len(size)
    assert name in subject.title


def test_study_without_a_variation_lists_them() -> None:
    with pytest.raises(SettingsError, match="variation=fcn32s; there are fcn32s, fcn"):
        find_subject(CONFIGS / STUDIES[0], [])
    with pytest.raises(SettingsError, match="name one of its variations"):
        find_subject(CONFIGS / STUDIES[0], ["variation=fcn4s"])


def test_trained_model_and_its_page(model: Path, tmp_path: Path) -> None:
    found = inspect(model, out=tmp_path)
    page = (tmp_path / "inspect.html").read_text(encoding="utf-8")
    assert "trained on" in page
    assert f"{found.costs.parameters:,}" in page
    assert "://" not in page.replace("http://www.w3.org", "")
    assert (tmp_path / "inspect.png").read_bytes().startswith(b"\x89PNG")


def test_prepared_data_decides_what_a_config_leaves_open(
    tiny_store: Store, tmp_path: Path
) -> None:
    path = write_config(tmp_path, {"network": TINY})
    subject = find_subject(path, [f"data={tiny_store.folder}"])
    assert subject.patch_size == tiny_store.plan.patch_size
    assert subject.batch_size == tiny_store.plan.batch_size
    assert find_subject(tiny_store.folder, []).settings == tiny_store.plan.network


def test_preset_is_fitted_to_prepared_data(tiny_store: Store, tmp_path: Path) -> None:
    path = write_config(tmp_path, {"preset": "resenc_m"})
    subject = find_subject(path, [f"data={tiny_store.folder}"])
    assert subject.settings.block == "residual"
    assert subject.settings.conv_bias


def test_what_cannot_be_inspected_says_why(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="no such file or folder"):
        find_subject(tmp_path / "absent", [])
    with pytest.raises(MissingFileError, match=r"plan\.yaml"):
        find_subject(tmp_path, [])
    with pytest.raises(SettingsError, match="data=STORE"):
        find_subject(write_config(tmp_path, {"network": TINY}), [])
    with pytest.raises(SettingsError, match="resenc_s"):
        find_subject(write_config(tmp_path, {"preset": "resenc_s"}), [])
    with pytest.raises(SettingsError, match=r"network unet: .* 3 axes need it"):
        find_subject(
            write_config(
                tmp_path,
                {"network": {**TINY, "strides": [1, [2, 2]]}, "patch_size": [8, 8, 8]},
            ),
            [],
        )


def test_command_line_prints_layers_costs_and_advice(tmp_path: Path) -> None:
    path = write_config(
        tmp_path, {"network": {**TINY, "upsampling_kernel": 3}, "patch_size": [16, 16]}
    )
    result = CliRunner().invoke(app, ["inspect", str(path)])
    assert result.exit_code == 0
    assert "use 4 or 2" in result.stdout
    assert "memory for training" in result.stdout
    wrong = CliRunner().invoke(app, ["inspect", str(path), "--precision", "int8"])
    assert wrong.exit_code != 0
