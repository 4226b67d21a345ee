"""Imported models go on to other programs: ONNX, and MONAI bundles."""

import json
from pathlib import Path

import numpy as np
import pytest
from monai_bundles import config_of, monai_label_map, write_bundle, write_scan
from nnunet_folders import Example

from medseg.conversion.export import export
from medseg.conversion.import_model import import_model


@pytest.mark.parametrize("to", ["onnx", "monai-bundle"])
def test_of_nnunet(to: str, tmp_path: Path) -> None:
    if to == "onnx":
        pytest.importorskip("onnx")
    import_model(Example().write(tmp_path / "source"), tmp_path / "model")
    said = export(tmp_path / "model", tmp_path / "out", to=to)
    assert "Checked: read back" in said
    (page,) = (tmp_path / "out").rglob("README.md")
    text = " ".join(page.read_text().split())
    assert "Imported from nnU-Net: 3d_fullres of Dataset900_example" in text
    assert "model.yaml holds under `exact`" in text


@pytest.mark.parametrize("to", ["onnx", "monai-bundle"])
def test_of_monai(to: str, tmp_path: Path) -> None:
    if to == "onnx":
        pytest.importorskip("onnx")
    write_bundle(tmp_path / "bundle", config_of())
    import_model(tmp_path / "bundle", tmp_path / "model")
    said = export(tmp_path / "model", tmp_path / "out", to=to)
    assert "Checked: read back" in said


def test_a_bundle_comes_back_as_it_came(tmp_path: Path) -> None:
    """Exported again, MONAI makes the same label map of it."""
    bundle, again = tmp_path / "bundle", tmp_path / "again"
    write_bundle(bundle, config_of())
    import_model(bundle, tmp_path / "model")
    export(tmp_path / "model", again, to="monai-bundle")
    write_scan(tmp_path / "scan.nii.gz")
    wanted = monai_label_map(bundle, tmp_path / "scan.nii.gz", tmp_path / "one")
    config = json.loads((again / "configs" / "inference.json").read_text())
    config["network_def"] = json.loads(
        (bundle / "configs" / "inference.json").read_text()
    )["network_def"]  # the other is TorchScript of the same weights
    (again / "configs" / "inference.json").write_text(json.dumps(config))
    (bundle / "models" / "model.pt").rename(again / "models" / "model.pt")
    found = monai_label_map(again, tmp_path / "scan.nii.gz", tmp_path / "two")
    np.testing.assert_array_equal(found, wanted)
