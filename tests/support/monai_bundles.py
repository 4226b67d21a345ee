"""MONAI bundles made for tests: tiny networks, configurations of usual form.

Needs MONAI and nothing of medseg: `benchmarks/peer_bundles.py` builds on it, too.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch

UNET = {
    "_target_": "UNet",
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 3,
    "channels": [4, 8],
    "strides": [2],
    "num_res_units": 1,
}
BEFORE: list[dict[str, Any]] = [
    {"_target_": "LoadImaged", "keys": "@image_key"},
    {"_target_": "EnsureChannelFirstd", "keys": "@image_key"},
    {"_target_": "Orientationd", "keys": "@image_key", "axcodes": "RAS"},
    {
        "_target_": "Spacingd",
        "keys": "@image_key",
        "pixdim": [2.0, 2.0, 2.0],
        "mode": "bilinear",
    },
    {
        "_target_": "ScaleIntensityRanged",
        "keys": "@image_key",
        "a_min": -57,
        "a_max": 164,
        "b_min": 0,
        "b_max": 1,
        "clip": True,
    },
    {"_target_": "EnsureTyped", "keys": "@image_key"},
]
INVERT = {
    "_target_": "Invertd",
    "keys": "pred",
    "transform": "@preprocessing",
    "orig_keys": "@image_key",
    "nearest_interp": False,
    "to_tensor": True,
}
AFTER: list[dict[str, Any]] = [
    {"_target_": "Activationsd", "keys": "pred", "softmax": True},
    INVERT,
    {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
    {
        "_target_": "SaveImaged",
        "keys": "pred",
        "output_dir": "@output_dir",
        "output_dtype": "$np.float32",
    },
]
WINDOWS = {
    "_target_": "SlidingWindowInferer",
    "roi_size": [16, 16, 16],
    "sw_batch_size": 4,
    "overlap": 0.5,
}
SIMPLE = {"_target_": "SimpleInferer"}


def config_of(
    network: Mapping[str, Any] = UNET,
    *,
    before: Sequence[Mapping[str, Any]] = BEFORE,
    inferer: Mapping[str, Any] = WINDOWS,
    after: Sequence[Mapping[str, Any]] = AFTER,
    datalist: str = "$list(sorted(glob.glob(@dataset_dir + '/*.nii.gz')))",
    items: str = "$[{'image': i} for i in @datalist]",
    **more: Any,
) -> dict[str, Any]:
    """A configuration as MONAI's model zoo writes them, with its everyday code.

    Args:
        network: ``network_def``.
        before: Transforms from the scan to the network's input.
        inferer: How the network goes over it.
        after: Transforms from the network's answer to the saved file.
        datalist: The files.
        items: How a list of files becomes items.
        more: Other entries, or others than the usual.
    """
    return {
        "imports": ["$import glob", "$import numpy as np"],
        "bundle_root": ".",
        "image_key": "image",
        "output_dir": "$@bundle_root + '/eval'",
        "dataset_dir": "/data/scans",
        "datalist": datalist,
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "network_def": dict(network),
        "network": "$@network_def.to(@device)",
        "preprocessing": {"_target_": "Compose", "transforms": list(before)},
        "dataset": {
            "_target_": "Dataset",
            "data": items,
            "transform": "@preprocessing",
        },
        "dataloader": {
            "_target_": "DataLoader",
            "dataset": "@dataset",
            "batch_size": 1,
            "shuffle": False,
            "num_workers": 0,
        },
        "inferer": dict(inferer),
        "postprocessing": {"_target_": "Compose", "transforms": list(after)},
        "handlers": [
            {
                "_target_": "CheckpointLoader",
                "load_path": "$@bundle_root + '/models/model.pt'",
                "load_dict": {"model": "@network"},
                "map_location": "@device",
            },
            {"_target_": "StatsHandler", "iteration_log": False},
        ],
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "val_handlers": "@handlers",
            "amp": True,
        },
        "initialize": ["$monai.utils.set_determinism(seed=123)"],
        "run": ["$@evaluator.run()"],
        **more,
    }


def metadata_of(
    outputs: Sequence[str], *, inputs: Sequence[str] = ("image",), modality: str = "CT"
) -> dict[str, Any]:
    """What a metadata.json says about channels."""

    def numbered(names: Sequence[str]) -> dict[str, str]:
        return {str(n): name for n, name in enumerate(names)}

    return {
        "version": "0.1.0",
        "monai_version": "1.4.0",
        "task": "a test",
        "copyright": "Copyright (c) nobody",
        "network_data_format": {
            "inputs": {
                "image": {
                    "type": "image",
                    "modality": modality,
                    "num_channels": len(inputs),
                    "channel_def": numbered(inputs),
                }
            },
            "outputs": {
                "pred": {"type": "image", "channel_def": numbered(outputs)},
            },
        },
    }


def network_of(config: Mapping[str, Any]) -> torch.nn.Module:
    """The network of a configuration, as MONAI's parser builds it."""
    logging.getLogger("monai.data.nvimgcodec_pydicom_plugin").setLevel(logging.ERROR)
    from monai.bundle import ConfigParser

    torch.manual_seed(7)
    made: torch.nn.Module = ConfigParser(
        {"network_def": dict(config["network_def"])}
    ).get_parsed_content("network_def")
    return made.eval()


def write_bundle(
    folder: Path,
    config: Mapping[str, Any],
    *,
    outputs: Sequence[str] = ("background", "left", "right"),
    inputs: Sequence[str] = ("image",),
    modality: str = "CT",
    nested: bool = False,
) -> torch.nn.Module:
    """Writes a bundle with random weights; its network."""
    for name in ("configs", "models"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    network = network_of(config)
    state = network.state_dict()
    torch.save(
        {"model": state, "epoch": 3} if nested else state,
        folder / "models" / "model.pt",
    )
    (folder / "configs" / "inference.json").write_text(json.dumps(config, indent=1))
    metadata = metadata_of(outputs, inputs=inputs, modality=modality)
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata))
    return network


def write_scan(
    path: Path,
    shape: Sequence[int] = (21, 24, 18),
    *,
    axes: str = "LPS",
    spacing: Sequence[float] = (1.4, 1.3, 3.0),
    seed: int = 3,
) -> np.ndarray:
    """Writes blurred noise as NIfTI, in HU, in a given orientation; its voxels."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(50, 120, [max(n // 4, 1) for n in shape[:3]] + list(shape[3:]))
    voxels = coarse
    for axis, size in enumerate(shape[:3]):
        voxels = np.repeat(voxels, -(-size // voxels.shape[axis]), axis)
        voxels = np.take(voxels, range(size), axis)
    voxels = (voxels + rng.normal(0, 10, shape)).astype(np.int16)
    signs = [1 if a in "RAS" else -1 for a in axes]
    order = ["RAS".find(a.translate(str.maketrans("LPI", "RAS"))) for a in axes]
    affine = np.eye(4)
    affine[:3, :3] = 0
    for column, (row, sign) in enumerate(zip(order, signs, strict=True)):
        affine[row, column] = sign * spacing[column]
    affine[:3, 3] = (-12.5, 31.0, 7.25)
    nib.save(nib.Nifti1Image(voxels, affine), path)
    return voxels


def monai_label_map(folder: Path, scan: Path | list[Path], out: Path) -> np.ndarray:
    """The file that MONAI's own parser and transforms write for a scan."""
    import warnings

    from monai.bundle import ConfigParser

    parser = ConfigParser()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parser.read_config(str(folder / "configs" / "inference.json"))
        parser["bundle_root"] = str(folder)
        parser["output_dir"] = str(out)
        parser["device"] = "cpu"
        parts = {
            key: parser.get_parsed_content(key)
            for key in ("preprocessing", "inferer", "postprocessing", "network_def")
        }
        network = parts["network_def"].eval()
        state = torch.load(folder / "models" / "model.pt", weights_only=True)
        network.load_state_dict(state.get("model", state))
        given = [str(p) for p in scan] if isinstance(scan, list) else str(scan)
        items = parts["preprocessing"]({"image": given})
        with torch.inference_mode():
            items["pred"] = parts["inferer"](items["image"][None], network)[0]
        parts["postprocessing"](items)
    (file,) = sorted(path for path in out.rglob("*.*") if path.is_file())
    if file.suffix == ".png":
        from PIL import Image

        return np.asarray(Image.open(file)).T
    return np.asarray(nib.load(file).dataobj)
