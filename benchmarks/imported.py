"""An nnU-Net folder by nnU-Net's own command and by medseg, from file to file.

    python imported.py WORK --scan CT.nii.gz --peer PYTHON --classes 3 118

PYTHON has nnunetv2. The folders are written here, with weights of no meaning (seed 0):
what is measured is time and memory, which do not depend on them. The network is the
plan's default for such a scan at the size that is asked for (`--features`, `--patch`).

Three arms take turns, `--repeats` times: nnU-Net's command, ``medseg predict``, and
``medseg predict --fast``. Each runs in a process of its own on one CPU thread, timed
from start to end, imports included; processor time counts its children too, and memory
is the largest resident size of one process. Weights of no meaning pass no calibration,
so that fast mode is allowed by hand here; its engine is chosen before, as a user's is
by the first call.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe_machine, print_rows

Row = dict[str, Any]


def write_folder(
    folder: Path,
    *,
    classes: int,
    features: list[int],
    patch: list[int],
    spacing: list[float],
    mirror: bool,
) -> None:
    """A results folder of nnU-Net with weights that were not trained."""
    import torch

    from medseg.networks.build import build_network
    from medseg.networks.settings import UNetSettings

    stages = len(features)
    strides = [[1, 1, 1], *([[2, 2, 2]] * (stages - 1))]
    torch.manual_seed(0)
    network = build_network(
        UNetSettings(
            channels=tuple(features),
            strides=tuple(tuple(s) for s in strides),
            conv_bias=True,
            deep_supervision=True,
        ),
        spatial_dims=3,
        in_channels=1,
        out_channels=classes,
    )
    weights = {}
    for name, tensor in network.state_dict().items():
        weights |= theirs(name.removeprefix("core."), tensor, stages)
    network_class = "dynamic_network_architectures.architectures.unet.PlainConvUNet"
    arguments = {
        "n_stages": stages,
        "features_per_stage": features,
        "conv_op": "torch.nn.modules.conv.Conv3d",
        "kernel_sizes": [[3, 3, 3]] * stages,
        "strides": strides,
        "n_conv_per_stage": [2] * stages,
        "n_conv_per_stage_decoder": [2] * (stages - 1),
        "conv_bias": True,
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
        "norm_op_kwargs": {"eps": 1e-05, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
    function, common = "resample_data_or_seg_to_shape", {"order_z": 0}
    configuration: dict[str, Any] = {
        "data_identifier": "data",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": patch,
        "spacing": spacing,
        "normalization_schemes": ["CTNormalization"],
        "use_mask_for_norm": [False],
        "architecture": {
            "network_class_name": network_class,
            "arch_kwargs": arguments,
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
    }
    for kind, order in (("data", 3), ("seg", 1), ("probabilities", 1)):
        configuration[f"resampling_fn_{kind}"] = function
        configuration[f"resampling_fn_{kind}_kwargs"] = {
            "is_seg": kind == "seg",
            "order": order,
            "force_separate_z": None,
            **common,
        }
    statistics = {
        "mean": -350.0,
        "std": 420.0,
        "percentile_00_5": -1000.0,
        "percentile_99_5": 300.0,
    }
    plans = {
        "dataset_name": "Dataset901_speed",
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "label_manager": "LabelManager",
        "configurations": {"3d_fullres": configuration},
        "foreground_intensity_properties_per_channel": {"0": statistics},
    }
    names = {"background": 0, **{f"organ_{n:03d}": n for n in range(1, classes)}}
    dataset = {
        "channel_names": {"0": "CT"},
        "labels": names,
        "numTraining": 1,
        "file_ending": ".nii.gz",
    }
    fold = folder / "fold_0"
    fold.mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(dataset))
    checkpoint = {
        "network_weights": weights,
        "init_args": {"configuration": "3d_fullres"},
        "trainer_name": "nnUNetTrainer",
        "inference_allowed_mirroring_axes": (0, 1, 2) if mirror else None,
    }
    torch.save(checkpoint, fold / "checkpoint_final.pth")


def theirs(name: str, tensor: Any, stages: int) -> dict[str, Any]:
    """A parameter under all names that nnU-Net's checkpoints have for it.

    Convolution kernels are written as they are: of the axes, nothing is known to
    weights that were not trained.
    """
    parts = name.split(".")
    if parts[0] == "heads":
        return {f"decoder.seg_layers.{stages - 2 - int(parts[1])}.{parts[2]}": tensor}
    if parts[0] == "decoder" and parts[3] == "up":
        level = stages - 2 - int(parts[2])
        return {f"decoder.transpconvs.{level}.{parts[4]}": tensor}
    if parts[0] == "decoder":
        level = stages - 2 - int(parts[2])
        stem, (_, _, _, _, number, kind, what) = f"decoder.stages.{level}", parts
        stems = [stem]
    else:
        _, _, level, number, kind, what = parts
        stems = [f"{lead}encoder.stages.{level}.0" for lead in ("", "decoder.")]
    index = {"conv": 0, "norm": 1}[kind]
    return {
        f"{stem}.convs.{number}.{place}.{what}": tensor
        for stem in stems
        for place in (kind, f"all_modules.{index}")
    }


def timed(command: list[str], environment: dict[str, str], log: Path) -> Row:
    """Seconds and memory of a command; what went wrong, if it did."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    with log.open("w") as stream:
        code = subprocess.run(
            ["/usr/bin/time", "-f", "%M", "-o", f"{log}.kb", *command],
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            stdout=stream,
            stderr=stream,
            check=False,
        ).returncode
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = sum(
        getattr(after, key) - getattr(before, key) for key in ("ru_utime", "ru_stime")
    )
    kilobytes = Path(f"{log}.kb").read_text().split()
    return {
        "exit_code": code,
        "seconds": round(seconds, 1),
        "cpu_seconds": round(used, 1),
        "peak_gb": round(int(kilobytes[-1]) / 1e6, 2),
    }


def compare(work: Path, arguments: argparse.Namespace, classes: int) -> list[Row]:
    """A row for each repeat, the arms one after another in it."""
    folder = work / f"nnUNetTrainer__nnUNetPlans__3d_fullres_{classes}"
    shutil.rmtree(folder, ignore_errors=True)
    write_folder(
        folder,
        classes=classes,
        features=arguments.features,
        patch=arguments.patch,
        spacing=arguments.spacing,
        mirror=arguments.mirror,
    )
    scans = work / "scans"
    scans.mkdir(parents=True, exist_ok=True)
    scan = scans / "case_0000.nii.gz"
    if not scan.exists():
        write_middle(arguments.scan, scan, arguments.shape)
    fast = folder.with_name(f"model_{classes}")
    shutil.rmtree(fast, ignore_errors=True)
    engine = allow_fast(folder, fast)
    about = {
        "classes": classes,
        "scan": arguments.scan.name,
        "shape": arguments.shape,
        "features": arguments.features,
        "patch": arguments.patch,
        "spacing": arguments.spacing,
        "mirror": arguments.mirror,
        "fast_engine": engine,
    }
    rows = []
    for repeat in range(arguments.repeats):
        row: Row = {**about, "repeat": repeat}
        outs = {name: work / f"{name}_{classes}" for name in ("peer", "exact", "fast")}
        for out in outs.values():
            shutil.rmtree(out, ignore_errors=True)
        if arguments.peer is not None:
            command = peer_command(arguments, folder, scans, outs["peer"])
            row["nnunet"] = timed(
                command, peer_paths(work), Path(f"{outs['peer']}.log")
            )
        for name, model, more in (("exact", folder, ()), ("fast", fast, ("--fast",))):
            command = [
                *(sys.executable, "-m", "medseg", "predict", str(model), str(scan)),
                *(
                    "-o",
                    str(outs[name]),
                    "--device",
                    "cpu",
                    "--quiet",
                    "--no-page",
                    *more,
                ),
            ]
            row[f"medseg_{name}"] = timed(command, {}, Path(f"{outs[name]}.log"))
        files = {name: out / "case.nii.gz" for name, out in outs.items()}
        row |= agreement(files["exact"], files["peer"])
        differing = agreement(files["fast"], files["exact"])["differing_share"]
        rows.append({**row, "fast_differing_share": differing})
    return rows


def allow_fast(folder: Path, out: Path) -> str:
    """The folder as a model that `--fast` takes; the engine that it chooses here."""
    import yaml

    from medseg.conversion.import_model import import_model
    from medseg.inference.settings import InferenceSettings
    from medseg.prediction.segmentation_model import SegmentationModel

    import_model(folder, out)
    description = out / "model.yaml"
    values = yaml.safe_load(description.read_text())
    values["exact"]["fast"] = {"num_scans": 1, "dice": {}}
    description.write_text(yaml.safe_dump(values))
    settings = InferenceSettings(fast=True)
    return SegmentationModel.load(out, device="cpu", settings=settings).engine


def peer_command(
    arguments: argparse.Namespace, folder: Path, scans: Path, out: Path
) -> list[str]:
    command = Path(arguments.peer).with_name("nnUNetv2_predict_from_modelfolder")
    return [
        *("timeout", str(arguments.limit), str(command), "-i", str(scans)),
        *("-o", str(out), "-m", str(folder), "-f", "0", "-device", "cpu"),
        *("-npp", "1", "-nps", "1", "--disable_progress_bar"),
    ]


def peer_paths(work: Path) -> dict[str, str]:
    """What nnU-Net wants to find in the environment."""
    paths = {f"nnUNet_{k}": str(work) for k in ("raw", "preprocessed", "results")}
    return {"nnUNet_def_n_proc": "1", **paths}


def write_middle(scan: Path, out: Path, shape: list[int] | None) -> None:
    """The middle of a scan, or all of it, compressed little, as both read it."""
    import nibabel

    image = nibabel.load(scan)
    if shape is None:
        shutil.copyfile(scan, out)
        return
    starts = [(n - m) // 2 for n, m in zip(image.shape, shape, strict=True)]
    place = [slice(s, s + m) for s, m in zip(starts, shape, strict=True)]
    nibabel.save(image.slicer[tuple(place)], out)


def agreement(one: Path, other: Path) -> dict[str, Any]:
    """Voxels that differ, where both are there."""
    import nibabel

    if not (one.is_file() and other.is_file()):
        return {"differing_share": None}
    found, wanted = (np.asarray(nibabel.load(p).dataobj) for p in (one, other))
    foreground = np.count_nonzero((found > 0) | (wanted > 0))
    return {
        "foreground_voxels": int(foreground),
        "differing_share": float((found != wanted).sum() / max(foreground, 1)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--scan", type=Path, required=True)
    parser.add_argument("--shape", type=int, nargs=3, help="The middle of the scan.")
    parser.add_argument("--peer", help="a Python that has nnunetv2")
    parser.add_argument("--classes", type=int, nargs="+", default=[3, 118])
    parser.add_argument("--features", type=int, nargs="+", default=[32, 64, 128, 256])
    parser.add_argument("--patch", type=int, nargs=3, default=[64, 128, 128])
    parser.add_argument("--spacing", type=float, nargs=3, default=[3.0, 1.5, 1.5])
    parser.add_argument("--mirror", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--limit", type=int, default=7200, help="seconds of the peer")
    parser.add_argument("--repeats", type=int, default=1)
    arguments = parser.parse_args()
    work = arguments.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    for classes in arguments.classes:
        rows = compare(work, arguments, classes)
        print_rows(rows, machine=describe_machine())


if __name__ == "__main__":
    main()
