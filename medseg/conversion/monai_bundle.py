"""A MONAI bundle: network, metadata, and an inference that MONAI runs by itself.

References:
    The MONAI bundle specification, docs.monai.io, "Bundle Specification".
"""

import json
import logging
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from medseg.bundle_recipe import BundleRecipe
from medseg.conversion.bundle_transforms import (
    postprocessing,
    preprocessing,
    steps_of_recipe,
)
from medseg.conversion.plain_formats import (
    EXAMPLE_FILES,
    save_traced,
    write_example,
)
from medseg.conversion.portable import Portable
from medseg.conversion.recipe import readme

_AROUND = {
    "bundle_root": ".",
    "dataset_dir": "$@bundle_root + '/data'",
    "output_dir": "$@bundle_root + '/eval'",
    "datalist": "$sorted(glob.glob(@dataset_dir + '/*.nii.gz'))",
    "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
    "dataset": {
        "_target_": "Dataset",
        "data": "$[{'image': i} for i in @datalist]",
        "transform": "@preprocessing",
    },
    "dataloader": {
        "_target_": "DataLoader",
        "dataset": "@dataset",
        "batch_size": 1,
        "shuffle": False,
        "num_workers": 0,
    },
    "evaluator": {
        "_target_": "SupervisedEvaluator",
        "device": "@device",
        "val_data_loader": "@dataloader",
        "network": "@network",
        "inferer": "@inferer",
        "postprocessing": "@postprocessing",
    },
    "run": ["$@evaluator.run()"],
}
"""Of every inference.json: files in, one after another, through the evaluator."""


def write_bundle(folder: Path, portable: Portable) -> str:
    """Writes the bundle; returns how it was checked, in words.

    The configuration is read by MONAI's own parser, and its inferer and network must
    give the logits of the original.

    Raises:
        ModelError: They do not.
    """
    for name in ("configs", "models", "docs"):
        (folder / name).mkdir()
    checked = save_traced(folder / "models" / "model.ts", portable)
    _write_json(folder / "configs" / "metadata.json", metadata(portable))
    _write_json(folder / "configs" / "inference.json", inference(portable))
    portable.verify(_as_monai_runs_it(folder, portable), name="inference.json")
    write_example(folder / "docs", portable)
    files = {
        "models/model.ts": "the network, for torch.jit.load",
        "configs/inference.json": "preparation, sliding window, decision, for MONAI",
        "configs/metadata.json": "what goes in and comes out",
        **{f"docs/{name}": what for name, what in EXAMPLE_FILES.items()},
    }
    page = readme(portable, files=files, checked=checked) + _HOW_TO_RUN
    (folder / "docs" / "README.md").write_text(page, encoding="utf-8")
    return f"{checked}\nMONAI's parser read inference.json; its inferer agrees too."


def inference(portable: Portable) -> dict[str, Any]:
    """What inference.json holds: everything from files to label maps."""
    plan, exact = portable.model.plan, portable.model.exact
    if isinstance(exact, BundleRecipe):  # a bundle again, as it came
        before, inferer, after = steps_of_recipe(exact)
    else:
        before, after = preprocessing(plan), postprocessing(plan)
        inferer = _inferer(portable)
    return {
        "imports": ["$import glob", "$import numpy as np", "$import torch"],
        "network_def": "$torch.jit.load(@bundle_root + '/models/model.ts')",
        "network": "$@network_def.to(@device).eval()",
        "preprocessing": {"_target_": "Compose", "transforms": before},
        "inferer": inferer,
        "postprocessing": {"_target_": "Compose", "transforms": after},
        **_AROUND,
    }


def metadata(portable: Portable) -> dict[str, Any]:
    """What metadata.json holds, by MONAI's schema."""
    plan, origin = portable.model.plan, portable.model.provenance
    return {
        "schema": "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/"
        "download/0.8.1/meta_schema_20240725.json",
        "version": "1.0.0",
        "changelog": {"1.0.0": f"exported by medseg {version('medseg')}"},
        "monai_version": version("monai"),
        "pytorch_version": torch.__version__.split("+")[0],
        "numpy_version": version("numpy"),
        "required_packages_version": {
            "nibabel": version("nibabel"),
        },
        "name": plan.name,
        "task": f"segmentation of {', '.join(plan.labels.structures)}",
        "description": f"{plan.network.name}, {plan.spatial_dims}D, trained by medseg "
        f"{origin.medseg} on {origin.num_training_cases} cases of {origin.dataset}",
        "authors": "",
        "copyright": "",
        "intended_use": "Research only, not a medical device.",
        "medseg_model": portable.model.weights_sha256,
        "network_data_format": {
            "inputs": {"image": _input(portable)},
            "outputs": {"pred": _output(portable)},
        },
    }


def _input(portable: Portable) -> dict[str, Any]:
    channels = portable.model.plan.channels
    return {
        "type": "image",
        "format": "magnitude",
        "modality": ", ".join(channel.name for channel in channels),
        "num_channels": portable.in_channels,
        "value_range": list(channels[0].usual_range),
        "channel_def": _numbered([channel.name for channel in channels]),
        **_shape(portable),
    }


def _output(portable: Portable) -> dict[str, Any]:
    labels = portable.model.plan.labels
    names = tuple(labels.regions) or ("background", *labels.structures)
    return {
        "type": "image",
        "format": "segmentation",
        "num_channels": portable.model.plan.num_outputs,
        "value_range": [],
        "channel_def": _numbered(names),
        **_shape(portable),
    }


def _shape(portable: Portable) -> dict[str, Any]:
    sizes: list[Any] = list(portable.window)
    if portable.any_size:
        sizes = [f"{divisor}*n" for divisor in portable.network.divisor]
    return {"spatial_shape": sizes, "dtype": "float32", "is_patch_data": True}


def _numbered(names: Sequence[str]) -> dict[str, str]:
    return {str(number): name for number, name in enumerate(names)}


def _inferer(portable: Portable) -> dict[str, Any]:
    common = {
        "roi_size": list(portable.window),
        "sw_batch_size": 1,
        "overlap": 0.5,
        "mode": "gaussian",
    }
    if portable.model.plan.spatial_dims == 2:
        return {"_target_": "SliceInferer", "spatial_dim": 2, **common}
    return {"_target_": "SlidingWindowInferer", **common}


def _as_monai_runs_it(folder: Path, portable: Portable) -> Any:
    """The network as MONAI's parser puts it together, with its own inferer."""
    # MONAI warns of an optional DICOM decoder that is absent; none is needed here
    logging.getLogger("monai.data.nvimgcodec_pydicom_plugin").setLevel(logging.ERROR)
    from monai.bundle.config_parser import ConfigParser

    parser = ConfigParser()
    parser.read_meta(str(folder / "configs" / "metadata.json"))
    parser.read_config(str(folder / "configs" / "inference.json"))
    parser["bundle_root"] = str(folder)
    parser["device"] = "$torch.device('cpu')"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of readers that MONAI finds absent
        network = parser.get_parsed_content("network")
        parser.get_parsed_content("preprocessing")
        parser.get_parsed_content("postprocessing")
    settings = parser["inferer"]
    across = settings["spatial_dim"] + 2 if "spatial_dim" in settings else None

    @torch.no_grad()
    def run(image: Tensor) -> Tensor:
        # One window holds the image. An inferer of its own for each size, since some
        # of MONAI's keep a copy of the size that they were made with.
        if "roi_size" in settings:
            parser["inferer::roi_size"] = list(image.shape[2:])
        inferer = parser.get_parsed_content("inferer")
        slices = image if across is None else image.unsqueeze(across)
        logits: Tensor = inferer(slices, network)
        return logits if across is None else logits.squeeze(across)

    return run


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


_HOW_TO_RUN = """
## Running it with MONAI

    python -m monai.bundle run --bundle_root . --config_file configs/inference.json \\
        --meta_file configs/metadata.json --dataset_dir SCANS --output_dir OUT

needs `pip install monai nibabel pytorch-ignite fire`. SCANS holds `*.nii.gz`; for
several channels, give `--datalist` a list of lists of files. Only plain NIfTI goes this
way: repairs of headers, DICOM, and post-processing are `medseg predict`'s. Where scans
are resampled, MONAI's grid lies a part of a voxel beside medseg's, so that labels at
borders may differ; where they are not, preparation is the same. On scans larger than
the window, windows lie a little otherwise (MONAI shifts the last one back, medseg
spreads all evenly) and weigh a little more at their corners.
"""
