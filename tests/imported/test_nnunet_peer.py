"""Against nnU-Net itself: what it made of a phantom, and a run of it where it is.

``tests/data/nnunet_golden`` was made by nnU-Net 2.8.1. The other test trains and
predicts anew with the Python that MEDSEG_NNUNET_PYTHON names.
"""

import json
import os
import subprocess
from pathlib import Path

import nibabel
import numpy as np
import pytest

from medseg.io import read_volume
from medseg.prediction.segmentation_model import SegmentationModel
from medseg.volume import Volume

ROOT = Path(__file__).parents[2]
PYTHON = "MEDSEG_NNUNET_PYTHON"


def differing(model: Path, scans: Path, wanted: Path) -> tuple[int, int]:
    """Voxels that differ from nnU-Net's label maps, and voxels of its foreground."""
    loaded = SegmentationModel.load(model)
    apart = foreground = 0
    for file in sorted(wanted.glob("*.nii.gz")):
        stem = file.name.removesuffix(".nii.gz")
        parts = [read_volume(p) for p in sorted(scans.glob(f"{stem}_*.nii.gz"))]
        voxels = np.concatenate([part.voxels for part in parts])
        found = loaded.segment(Volume(voxels, parts[0].affine)).voxels
        expected = np.asarray(nibabel.load(file).dataobj)
        apart += int((found != expected).sum())
        foreground += int((expected > 0).sum())
    return apart, foreground


def test_files_that_nnunet_made() -> None:
    """Two folds, two channels, slices resampled apart, flips along all axes."""
    golden = ROOT / "tests" / "data" / "nnunet_golden"
    parts = (golden / name for name in ("model", "scans", "labels"))
    apart, foreground = differing(*parts)
    assert foreground > 300
    assert apart <= 1e-3 * foreground


@pytest.mark.slow
@pytest.mark.skipif(PYTHON not in os.environ, reason=f"{PYTHON} names no Python")
@pytest.mark.parametrize("name", ["golden"])
def test_nnunet_itself(tmp_path: Path, name: str) -> None:
    script = ROOT / "benchmarks" / "peer_nnunet_models.py"
    subprocess.run(
        [os.environ[PYTHON], str(script), str(tmp_path), "--only", name],
        check=True,
        env={**os.environ, "PYTHONPATH": ""},
    )
    entry = json.loads((tmp_path / "models.json").read_text())[name]
    parts = (tmp_path / entry[key] for key in ("model", "scans", "peer"))
    apart, foreground = differing(*parts)
    assert foreground > 300
    assert apart <= 1e-3 * foreground
