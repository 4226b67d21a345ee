"""Bundles of every kind of network and plan, run by MONAI's own command."""

import logging
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from workflow_models import make_model

from medseg.conversion.export import export
from medseg.geometry import affine_from_spacing
from medseg.inference import tiling
from medseg.inference.predictor import Predictor
from medseg.inference.settings import InferenceSettings
from medseg.io import read_label_map, write_volume
from medseg.model import load_model
from medseg.plan import Plan
from medseg.types import LabelArray
from medseg.volume import Volume

pytest.importorskip("ignite")
pytestmark = pytest.mark.filterwarnings("ignore")  # of what MONAI finds absent

UNET = {"name": "unet", "channels": [4, 8], "strides": [1, 2]}
CT = {"name": "CT", "normalization": "ct", "clip": [-100, 200], "mean": 50, "std": 60}
KINDS: dict[str, dict[str, Any]] = {
    "3D U-Net, z-score": {"patch_size": [16, 16, 16]},
    "3D U-Net without padding": {
        "patch_size": [20, 20, 20],
        "network": UNET
        | {"padding": "valid", "downsampling": "maxpool", "normalization": "none"},
    },
    "3D DeepLab, CT and MR, regions": {
        "patch_size": [24, 24, 16],
        "network": {"name": "deeplab", "channels": [4, 8, 8], "aspp_channels": 8},
        "channels": [CT, {"name": "T1", "nonzero_only": True}],
        "labels": {
            "names": {"one": 3, "two": 7},
            "regions": {"both": ["one", "two"], "inner": ["two"]},
        },
    },
    "3D SegResNet": {
        "patch_size": [16, 16, 16],
        "network": {"name": "segresnet", "init_filters": 8, "blocks_down": [1, 1]}
        | {"blocks_up": [1]},
    },
    "2D U-Net, percentiles": {
        "spatial_dims": 2,
        "patch_size": [16, 12],
        "channels": [{"name": "grey", "normalization": "percentile"}],
    },
    "2D U-Net across sagittal slices, CT": {
        "spatial_dims": 2,
        "slice_axis": "i",
        "patch_size": [12, 16],
        "channels": [CT],
    },
    "2D U-Net without padding": {
        "spatial_dims": 2,
        "patch_size": [20, 20],
        "network": UNET
        | {"padding": "valid", "downsampling": "maxpool", "normalization": "none"},
    },
    "2D FCN-8s, cropped": {
        "spatial_dims": 2,
        "patch_size": [64, 32],
        "crop_nonzero": True,
        "network": {"name": "fcn", "channels": [4, 4, 8, 8, 8], "head_channels": 8},
    },
    "2D DeepLab, two channels": {
        "spatial_dims": 2,
        "patch_size": [24, 24],
        "channels": [{"name": "T1"}, {"name": "raw", "normalization": "none"}],
        "network": {"name": "deeplab", "channels": [4, 8, 8], "aspp_channels": 8},
    },
    "2D U-Net, cells of any stain": {
        "spatial_dims": 2,
        "patch_size": [16, 16],
        "channels": [{"name": n, "normalization": "stain"} for n in ("red", "green")],
    },
    "2D U-Net, faint cells and a CT": {
        "spatial_dims": 2,
        "patch_size": [16, 16],
        "channels": [
            {"name": "dye", "normalization": "stain", "least_range": 600}
            | {"least_range_light": 700},
            CT,
            {"name": "grey", "normalization": "percentile", "least_range": 500},
        ],
    },
}


@pytest.mark.parametrize("kind", KINDS)
def test_monai_gives_the_label_map_that_medseg_gives(
    kind: str, small_plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import monai.bundle

    monkeypatch.setattr(tiling, "gaussian_importance", monai_weights)
    plan = plan_of(small_plan, KINDS[kind])
    model = make_model(tmp_path / "model", plan, bias=0.05)
    export(model, tmp_path / "bundle", to="monai-bundle")
    options = bundle_call(tmp_path, scan(plan))
    try:
        monai.bundle.run(**options)
    finally:
        logging.disable(logging.NOTSET)
    found = read_label_map(tmp_path / "out" / options["case"]).voxels
    ours = predicted(model, scan(plan))
    assert len(np.unique(ours)) > 1
    assert float((found == ours).mean()) > 0.998


@pytest.mark.slow
def test_the_command_of_the_page_runs(small_plan: Plan, tmp_path: Path) -> None:
    plan = plan_of(small_plan, KINDS["2D U-Net, percentiles"])
    model = make_model(tmp_path / "model", plan, bias=0.05)
    export(model, tmp_path / "bundle", to="monai-bundle")
    options = bundle_call(tmp_path, scan(plan))
    words = [f"--{name}={value}" for name, value in options.items()]
    subprocess.run([sys.executable, "-m", "monai.bundle", "run", *words], check=True)
    found = read_label_map(tmp_path / "out" / options["case"]).voxels
    assert float((found == predicted(model, scan(plan))).mean()) > 0.998


def plan_of(small_plan: Plan, changes: dict[str, Any]) -> Plan:
    """The plan of tiny scans that are not resampled, changed."""
    values = small_plan.model_dump() | {"network": UNET} | changes
    return Plan.model_validate(values)


def bundle_call(folder: Path, volume: Volume) -> dict[str, Any]:
    """Writes a scan, a file per channel, and says how MONAI is called on it."""
    bundle, scans = folder / "bundle", folder / "scans"
    scans.mkdir()
    files = [scans / f"case_{n}.nii.gz" for n in range(volume.num_channels)]
    for path, voxels in zip(files, volume.voxels, strict=True):
        write_volume(path, Volume(voxels[None], volume.affine))
    return {
        "bundle_root": str(bundle),
        "config_file": str(bundle / "configs" / "inference.json"),
        "meta_file": str(bundle / "configs" / "metadata.json"),
        "datalist": [[str(path) for path in files]],
        "output_dir": str(folder / "out"),
        "device": "$torch.device('cpu')",
        "case": files[0].name,
    }


def scan(plan: Plan) -> Volume:
    """Noise with structure and a margin of zeros, on the plan's spacing.

    Its axes are half as long again as the window, where MONAI's windows, which start
    at multiples of half a window, lie as medseg's, which are spread evenly.
    """
    rng = np.random.default_rng(0)
    seen = [size * 3 // 2 for size in plan.patch_size] + [5] * (3 - plan.spatial_dims)
    voxels = rng.normal(60, 40, (len(plan.channels), *seen)).astype(np.float32)
    voxels[:, 5:12, 5:12, 1:12] += 150
    if plan.crop_nonzero:
        voxels = np.pad(voxels, ((0, 0), (2, 3), (4, 0), (0, 1)))
    else:
        voxels[:, :2] = 0
        voxels[:, :, -3:] = 0
    order = [axes_of(plan).index(axis) for axis in "ijk"]
    voxels = voxels.transpose(0, *(axis + 1 for axis in order))
    affine = affine_from_spacing(tuple(plan.target_spacing[axis] for axis in order))
    affine[0, 0] *= -1  # left instead of right
    return Volume(np.ascontiguousarray(voxels), affine)


def monai_weights(window: Sequence[int]) -> torch.Tensor:
    """The Gaussian of MONAI, whose corners weigh 0.001 at least, medseg's 0.0001."""
    from monai.data.utils import compute_importance_map

    return compute_importance_map(tuple(window), mode="gaussian", sigma_scale=1 / 8)


def axes_of(plan: Plan) -> str:
    """The scan's axes in the order in which the network sees them."""
    return "ijk".replace(plan.slice_axis, "") + plan.slice_axis


def predicted(model: Path, volume: Volume) -> LabelArray:
    """What medseg says, by torch alone."""
    loaded = load_model(model)
    settings = InferenceSettings(overlap=0.5)
    predictor = Predictor(loaded.network, loaded.plan, torch.device("cpu"), settings)
    return predictor.predict(volume).voxels
