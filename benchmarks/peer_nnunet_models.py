"""Small models trained by nnU-Net v2, for checking what medseg makes of them.

Runs in an environment that has nnunetv2 and needs nothing of medseg:

    python peer_nnunet_models.py WORK [--only NAME ...] [--data FOLDER]

WORK gets, for each model of `MODELS`, nnU-Net's results folder, scans, the label maps
of nnU-Net's own predictor (``nnUNetPredictor``, one process, on the CPU), and a line in
``models.json``. `nnunet_exact.py` compares medseg with them.

Each network is trained for `STEPS` steps (slices: 150) of Adam (rate 3e-3) by nnU-Net's
own loss on patches of cases that nnU-Net's own preprocessor prepared, and saved by
nnU-Net's own trainer; seed 0. They are small and know little: what is compared is
arithmetic. The plans are written here.
"""

import argparse
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

STEPS = 30
NUM_TRAINING, NUM_TEST = 3, 1


@dataclass(frozen=True)
class Kind:
    """A model: its data, its plans, and how it was trained.

    Attributes:
        data: Makes the cases, below a folder for images and one for labels.
        spacing: Of the network, transposed; two numbers for slices.
        patch: Windows.
        strides: Of the stages.
        kernels: Of the stages.
        changes: Entries of the configuration that are not the usual ones.
        plans: Entries of the plans that are not the usual ones.
        trainer: Name of the class.
        folds: How many.
        old_plans: Written as nnU-Net 2.0 did.
        block: ``plain`` or ``residual``.
        cascade: Trains a low-resolution stage first.
        cleaned: Post-processing is determined and applied.
        features: Of the stages.
        steps: Of training.
        slim: Leave the optimiser out of the checkpoint, to keep it small.
    """

    data: Callable[[Path], dict[str, Any]]
    spacing: tuple[float, ...]
    patch: tuple[int, ...]
    strides: list[Any]
    kernels: list[Any]
    changes: dict[str, Any] = field(default_factory=dict)
    plans: dict[str, Any] = field(default_factory=dict)
    trainer: str = "nnUNetTrainer"
    folds: int = 1
    old_plans: bool = False
    block: str = "plain"
    cascade: bool = False
    cleaned: bool = False
    features: tuple[int, ...] = (6, 12, 16)
    steps: int = STEPS
    slim: bool = False


def set_paths(work: Path) -> None:
    """Where nnU-Net looks; it reads them on import."""
    for kind in ("raw", "preprocessed", "results"):
        os.environ[f"nnUNet_{kind}"] = str(work / kind)
    os.environ |= {
        "nnUNet_def_n_proc": "1",
        "nnUNet_n_proc_DA": "0",
        "nnUNet_compile": "f",
    }


def without_transformers() -> None:
    """Takes the place of nnU-Net's transformers where torchvision cannot be imported.

    nnU-Net imports all of its trainers when it looks for one, and with those of
    transformers timm and torchvision, which may be built for another torch.
    """
    import sys
    import types

    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError):
        name = "dynamic_network_architectures.architectures.primus"
        stand_in = types.ModuleType(name)
        for kind in ("Primus", "PrimusV2B", "PrimusV2L", "PrimusV2M", "PrimusV2S"):
            setattr(stand_in, kind, type(kind, (), {}))
        for size in "SBML":
            setattr(stand_in, f"PrimusV3{size}", type("Stand-in", (), {}))
        sys.modules[name] = stand_in


class Source:
    """Cases of real data, changed and written in nnU-Net's raw layout."""

    folder = Path("../shared/data")

    @classmethod
    def hippocampus(
        cls,
        *,
        step_k: int = 1,
        flips: str = "",
        orient: str = "",
        ignore: bool = False,
        ending: str = ".nii.gz",
    ) -> Callable[[Path], dict[str, Any]]:
        """Single-channel MR crops; thinned along k, turned, or partly unlabelled."""

        def make(raw: Path) -> dict[str, Any]:
            import numpy as np
            import SimpleITK as sitk  # noqa: N813

            root = cls.folder / "hippocampus"
            names = sorted(p.name for p in (root / "imagesTr").glob("*.nii.gz"))
            for number, name in enumerate(names[: NUM_TRAINING + NUM_TEST]):
                image = sitk.ReadImage(str(root / "imagesTr" / name), sitk.sitkFloat32)
                label = sitk.ReadImage(str(root / "labelsTr" / name), sitk.sitkUInt8)
                if step_k > 1:
                    image, label = image[:, :, ::step_k], label[:, :, ::step_k]
                if orient:
                    image, label = (
                        sitk.DICOMOrient(item, orient) for item in (image, label)
                    )
                if ignore:
                    values = sitk.GetArrayFromImage(label)
                    values[:, : values.shape[1] // 3][
                        values[:, : values.shape[1] // 3] == 0
                    ] = 3
                    other = sitk.GetImageFromArray(values.astype(np.uint8))
                    other.CopyInformation(label)
                    label = other
                save_case(raw, f"case_{number:02d}", [image], label, ending)
            labels: dict[str, Any] = {"background": 0, "anterior": 1, "posterior": [2]}
            if ignore:
                labels["ignore"] = 3
            return {"channel_names": {"7": "MR"}, "labels": labels}

        return make

    @classmethod
    def phantoms(cls) -> Callable[[Path], dict[str, Any]]:
        """Two channels with an ellipsoid and a core in it, in thick slices."""

        def make(raw: Path) -> dict[str, Any]:
            import numpy as np
            import SimpleITK as sitk  # noqa: N813

            for number in range(NUM_TRAINING + NUM_TEST):
                random = np.random.default_rng(number)
                grid = np.stack(np.mgrid[-1:1:9j, -1:1:26j, -1:1:22j])
                centre = random.uniform(-0.2, 0.2, 3)[:, None, None, None]
                far = np.sqrt(((grid - centre) ** 2).sum(0))
                label = (far < 0.7).astype(np.uint8) + (far < 0.35)
                images = []
                for channel in range(2):
                    values = 100 + 60 * (label > channel) + 20 * grid[channel]
                    values += random.normal(0, 15, values.shape)
                    values[:, :2] = values[:, :, -3:] = 0
                    images.append(values.astype(np.int16))
                volumes = [sitk.GetImageFromArray(part) for part in (*images, label)]
                for volume in volumes:
                    volume.SetSpacing((0.9, 0.8, 3.6))
                    volume.SetOrigin((-12.0, 7.5, 30.0))
                    volume.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
                save_case(raw, f"case_{number:02d}", volumes[:2], volumes[2], ".nii.gz")
            return {
                "channel_names": {"0": "T1", "1": "T2"},
                "labels": {"background": 0, "shell": 1, "core": 2},
            }

        return make

    @classmethod
    def brats(cls, *, regions: bool) -> Callable[[Path], dict[str, Any]]:
        """FLAIR and T1c in blocks around the tumour; overlapping regions."""

        def make(raw: Path) -> dict[str, Any]:
            import numpy as np
            import SimpleITK as sitk  # noqa: N813

            root = cls.folder / "brats2013"
            rows = (root / "manifest.csv").read_text().splitlines()
            keys = rows[0].split(",")
            cases = [dict(zip(keys, row.split(","), strict=True)) for row in rows[1:]]
            pictures = ["flair", "t1c"]
            for number in range(NUM_TRAINING + NUM_TEST):
                case = cases[number % len(cases)]
                images = [
                    sitk.ReadImage(str(root / case[k]), sitk.sitkFloat32)
                    for k in pictures
                ]
                label = sitk.ReadImage(str(root / case["label"]), sitk.sitkUInt8)
                start = np.argwhere(sitk.GetArrayFromImage(label) > 0).mean(0)[::-1]
                box = [
                    slice(max(int(c) - 40 + 3 * number, 0), int(c) + 40 + 2 * number, 2)
                    for c in start
                ]
                # voxels without tissue are zero, so that the image is cropped
                parts = [image[box[0], box[1], box[2]] for image in images]
                save_case(
                    raw,
                    f"case_{number:02d}",
                    [sitk.DICOMOrient(part, "LPI") for part in parts],
                    sitk.DICOMOrient(label[box[0], box[1], box[2]], "LPI"),
                    ".nii.gz",
                )
            labels: dict[str, Any] = {
                "background": 0,
                "whole": [1, 2, 3, 4],
                "core": [1, 3, 4],
                "enhancing": [4],
            }
            names = {str(n): name for n, name in enumerate(("FLAIR", "T1c"))}
            found: dict[str, Any] = {"channel_names": names, "labels": labels}
            if regions:
                found["regions_class_order"] = [2, 3, 4]
            return found

        return make

    @classmethod
    def thorax(cls) -> Callable[[Path], dict[str, Any]]:
        """Blocks of a CT at a sixth of its resolution."""

        def make(raw: Path) -> dict[str, Any]:
            import SimpleITK as sitk  # noqa: N813

            root = cls.folder / "real_size_volumes"
            name = next((root / "images").iterdir()).name
            image = sitk.ReadImage(str(root / "images" / name), sitk.sitkFloat32)
            label = sitk.ReadImage(str(root / "labels" / name), sitk.sitkUInt8)
            for number in range(NUM_TRAINING + NUM_TEST):
                low, high = 3 * number, 105 - 4 * number
                save_case(
                    raw,
                    f"case_{number:02d}",
                    [image[60:450:6, 90:430:6, low:high:3]],
                    label[60:450:6, 90:430:6, low:high:3],
                    ".nii.gz",
                )
            organs = ["left_lung", "right_lung", "heart", "cord", "liver", "tumour"]
            return {
                "modality": {"0": "CT"},
                "labels": {
                    "background": 0,
                    **{organ: n for n, organ in enumerate(organs, start=1)},
                },
            }

        return make

    @classmethod
    def nuclei(cls) -> Callable[[Path], dict[str, Any]]:
        """Pictures in colours."""

        def make(raw: Path) -> dict[str, Any]:
            import numpy as np
            from skimage import io

            root = cls.folder / "nuclei"
            rows = (root / "manifest.csv").read_text().splitlines()
            keys = rows[0].split(",")
            cases = [dict(zip(keys, row.split(","), strict=True)) for row in rows[1:]]
            cases = [c for c in cases if c["modality"] == "purple_stain"]
            for number, case in enumerate(cases[: NUM_TRAINING + NUM_TEST]):
                image = io.imread(root / case["image"])[:120, :150]
                label = io.imread(root / case["label"])[:120, :150]
                names = folders(raw)
                image_name = f"case_{number:02d}_0000.png"
                io.imsave(names["images"] / image_name, image, check_contrast=False)
                io.imsave(
                    names["labels"] / f"case_{number:02d}.png",
                    (label > 0).astype(np.uint8),
                    check_contrast=False,
                )
            return {
                "channel_names": {"0": "R", "1": "G", "2": "B"},
                "labels": {"background": 0, "nucleus": 1},
                "file_ending": ".png",
            }

        return make

    @classmethod
    def stacks(cls) -> Callable[[Path], dict[str, Any]]:
        """MR crops as TIFF of pages, spacing in a file beside them."""

        def make(raw: Path) -> dict[str, Any]:
            import nibabel
            import numpy as np
            import tifffile

            root = cls.folder / "hippocampus"
            names = sorted(p.name for p in (root / "imagesTr").glob("*.nii.gz"))
            places = folders(raw)
            for number, name in enumerate(names[: NUM_TRAINING + NUM_TEST]):
                for kind, end, where in (
                    ("imagesTr", "_0000", "images"),
                    ("labelsTr", "", "labels"),
                ):
                    voxels = nibabel.load(root / kind / name).get_fdata()
                    tifffile.imwrite(
                        places[where] / f"case_{number:02d}{end}.tif",
                        voxels.transpose(2, 1, 0).astype(
                            np.float32 if where == "images" else np.uint8
                        ),
                    )
                    spacing = {"spacing": [1.5, 1.0, 1.0]}
                    beside = places[where] / f"case_{number:02d}.json"
                    beside.write_text(json.dumps(spacing))
            return {
                "channel_names": {"0": "MR"},
                "labels": {"background": 0, "anterior": 1, "posterior": 2},
                "file_ending": ".tif",
            }

        return make


def folders(raw: Path) -> dict[str, Path]:
    found = {"images": raw / "images", "labels": raw / "labels"}
    for folder in found.values():
        folder.mkdir(parents=True, exist_ok=True)
    return found


def save_case(raw: Path, name: str, images: list[Any], label: Any, ending: str) -> None:
    import SimpleITK as sitk  # noqa: N813

    places = folders(raw)
    for channel, image in enumerate(images):
        file = places["images"] / f"{name}_{channel:04d}{ending}"
        sitk.WriteImage(image, str(file), useCompression=True)
    sitk.WriteImage(
        label, str(places["labels"] / f"{name}{ending}"), useCompression=True
    )


ISOTROPIC = [[3, 3, 3]] * 3
HALVES = [[1, 1, 1], [2, 2, 2], [2, 2, 2]]
TORCH: dict[str, Any] = {
    f"resampling_fn_{kind}": "resample_torch_fornnunet"
    for kind in ("data", "seg", "probabilities")
} | {
    f"resampling_fn_{kind}_kwargs": {
        "is_seg": kind == "seg",
        "force_separate_z": None,
        "memefficient_seg_resampling": False,
    }
    for kind in ("data", "seg", "probabilities")
}

MODELS: dict[str, Kind] = {
    "fullres": Kind(
        Source.hippocampus(), (1.1, 0.9, 1.0), (24, 32, 24), HALVES, ISOTROPIC
    ),
    "two_folds": Kind(
        Source.hippocampus(orient="PIR"),
        (0.9, 1.2, 1.0),
        (24, 32, 24),
        HALVES,
        ISOTROPIC,
        folds=2,
        cleaned=True,
    ),
    "anisotropic": Kind(
        Source.hippocampus(step_k=4, orient="LAS"),
        (3.5, 1.0, 0.9),
        (8, 40, 32),
        [[1, 1, 1], [1, 2, 2], [2, 2, 2]],
        [[1, 3, 3], [3, 3, 3], [3, 3, 3]],
        plans={"image_reader_writer": "NibabelIOWithReorient"},
    ),
    "transposed": Kind(
        Source.hippocampus(step_k=2, orient="RPI"),
        (1.0, 2.2, 1.1),
        (32, 16, 32),
        [[1, 1, 1], [2, 1, 2], [2, 2, 2]],
        [[3, 1, 3], [3, 3, 3], [3, 3, 3]],
        plans={
            "transpose_forward": [1, 0, 2],
            "transpose_backward": [1, 0, 2],
            "image_reader_writer": "NibabelIO",
        },
        trainer="nnUNetTrainerNoMirroring",
    ),
    "cyclic": Kind(
        Source.hippocampus(ending=".nrrd"),
        (1.0, 1.2, 0.9),
        (32, 24, 40),
        [[1, 1, 1], [2, 1, 2], [1, 2, 2]],
        [[3, 3, 3], [3, 3, 1], [3, 3, 3]],
        plans={
            "transpose_forward": [2, 0, 1],
            "transpose_backward": [1, 2, 0],
        },
        trainer="nnUNetTrainer_onlyMirror01",
    ),
    "regions": Kind(
        Source.brats(regions=True),
        (1.8, 2.1, 2.0),
        (24, 24, 24),
        HALVES,
        ISOTROPIC,
        changes={"use_mask_for_norm": [True, True]},
        plans={"image_reader_writer": "SimpleITKIOWithReorient"},
        folds=2,
        cleaned=True,
    ),
    "ignore": Kind(
        Source.hippocampus(ignore=True),
        (1.0, 1.0, 1.0),
        (24, 24, 24),
        HALVES,
        ISOTROPIC,
    ),
    "resenc": Kind(
        Source.hippocampus(),
        (0.8, 0.9, 0.9),
        (32, 32, 32),
        HALVES,
        ISOTROPIC,
        block="residual",
    ),
    "torch_resampling": Kind(
        Source.hippocampus(step_k=4),
        (3.6, 0.9, 1.0),
        (8, 32, 32),
        [[1, 1, 1], [1, 2, 2], [2, 2, 2]],
        ISOTROPIC,
        changes=TORCH,
    ),
    "ct_old_plans": Kind(
        Source.thorax(),
        (11.0, 7.0, 7.0),
        (16, 40, 40),
        HALVES,
        ISOTROPIC,
        changes={"normalization_schemes": ["CTNormalization"]},
        old_plans=True,
    ),
    "slices": Kind(
        Source.hippocampus(orient="LPS"),
        (0.9, 1.1),
        (32, 32),
        [[1, 1], [2, 2], [2, 2]],
        [[3, 3]] * 3,
        steps=150,
    ),
    "pictures": Kind(
        Source.nuclei(),
        (1.0, 1.0),
        (64, 64),
        [[1, 1], [2, 2], [2, 2]],
        [[3, 3]] * 3,
        changes={
            "normalization_schemes": ["RGBTo01Normalization"] * 3,
            "use_mask_for_norm": [False] * 3,
        },
        plans={"image_reader_writer": "NaturalImage2DIO"},
    ),
    "stacks": Kind(
        Source.stacks(),
        (1.2, 1.0, 1.0),
        (24, 32, 24),
        HALVES,
        ISOTROPIC,
        changes={"normalization_schemes": ["RescaleTo01Normalization"]},
        plans={"image_reader_writer": "Tiff3DIO"},
    ),
    "batch_norm": Kind(
        Source.hippocampus(),
        (1.0, 1.0, 1.2),
        (24, 32, 24),
        HALVES,
        ISOTROPIC,
        changes={"normalization_schemes": ["NoNormalization"]},
        trainer="nnUNetTrainerBN",
    ),
    "golden": Kind(
        Source.phantoms(),
        (3.2, 1.0, 1.0),
        (6, 16, 16),
        [[1, 1, 1], [1, 2, 2], [2, 2, 2]],
        [[1, 3, 3], [3, 3, 3], [3, 3, 3]],
        folds=2,
        features=(4, 6, 8),
        slim=True,
    ),
    "cascade": Kind(
        Source.hippocampus(),
        (0.9, 1.0, 1.0),
        (32, 40, 32),
        HALVES,
        ISOTROPIC,
        cascade=True,
    ),
}


def resampling() -> dict[str, Any]:
    """What the planner writes."""
    common = {"order_z": 0, "force_separate_z": None}
    function = "resample_data_or_seg_to_shape"
    return {
        "resampling_fn_data": function,
        "resampling_fn_data_kwargs": {"is_seg": False, "order": 3, **common},
        "resampling_fn_seg": function,
        "resampling_fn_seg_kwargs": {"is_seg": True, "order": 1, **common},
        "resampling_fn_probabilities": function,
        "resampling_fn_probabilities_kwargs": {"is_seg": False, "order": 1, **common},
    }


def write_plans(
    name: str, kind: Kind, dataset: dict[str, Any], statistics: dict[str, Any]
) -> dict[str, Any]:
    """plans.json in the form of nnU-Net 2.8, or of 2.0."""
    channels = len(dataset.get("modality", dataset.get("channel_names", {})))
    dims, stages = len(kind.patch), len(kind.strides)
    configuration: dict[str, Any] = {
        "data_identifier": f"{name}_data",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": list(kind.patch),
        "median_image_size_in_voxels": [40.0] * dims,
        "spacing": list(kind.spacing),
        "normalization_schemes": ["ZScoreNormalization"] * channels,
        "use_mask_for_norm": [False] * channels,
        "batch_dice": False,
        **resampling(),
        **kind.changes,
    }
    blocks = "n_conv_per_stage" if kind.block == "plain" else "n_blocks_per_stage"
    if kind.old_plans:
        configuration |= {
            "UNet_class_name": "PlainConvUNet",
            "UNet_base_num_features": 8,
            "unet_max_num_features": 24,
            "n_conv_per_stage_encoder": [2] * stages,
            "n_conv_per_stage_decoder": [2] * (stages - 1),
            "num_pool_per_axis": [stages - 1] * dims,
            "pool_op_kernel_sizes": kind.strides,
            "conv_kernel_sizes": kind.kernels,
        }
    else:
        network = "PlainConvUNet" if kind.block == "plain" else "ResidualEncoderUNet"
        configuration["architecture"] = {
            "network_class_name": "dynamic_network_architectures.architectures.unet."
            + network,
            "arch_kwargs": {
                "n_stages": stages,
                "features_per_stage": list(kind.features[:stages]),
                "conv_op": f"torch.nn.modules.conv.Conv{dims}d",
                "kernel_sizes": kind.kernels,
                "strides": kind.strides,
                blocks: [1, 2, 2][:stages],
                "n_conv_per_stage_decoder": [1, 2][: stages - 1],
                "conv_bias": True,
                "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dims}d",
                "norm_op_kwargs": {"eps": 1e-05, "affine": True},
                "dropout_op": None,
                "dropout_op_kwargs": None,
                "nonlin": "torch.nn.LeakyReLU",
                "nonlin_kwargs": {"inplace": True},
            },
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        }
    full = {2: "2d", 3: "3d_fullres"}[dims]
    configurations = {full: configuration}
    if kind.cascade:
        lowres = json.loads(json.dumps(configuration))
        lowres |= {
            "data_identifier": f"{name}_low",
            "spacing": [2 * n for n in kind.spacing],
            "patch_size": [n // 2 for n in kind.patch],
            "next_stage": "3d_cascade_fullres",
        }
        configurations |= {
            "3d_lowres": lowres,
            "3d_cascade_fullres": {
                "inherits_from": "3d_fullres",
                "previous_stage": "3d_lowres",
            },
        }
    key = "foreground_intensity_properties_per_channel"
    return {
        "dataset_name": f"Dataset900_{name}",
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": [1.0, 1.0, 1.0],
        "original_median_shape_after_transp": [40, 40, 40],
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": configurations,
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        key: statistics,
        **kind.plans,
    }


def foreground_statistics(raw: Path, dataset: dict[str, Any]) -> dict[str, Any]:
    """Numbers of a fingerprint; those of the CT are what its foreground has."""
    channels = len(dataset.get("modality", dataset.get("channel_names", {})))
    one = {
        "max": 1000.0,
        "mean": -350.5,
        "median": -500.0,
        "min": -1024.0,
        "percentile_00_5": -990.0,
        "percentile_99_5": 260.0,
        "std": 420.7,
    }
    return {str(number): one for number in range(channels)}


def train(
    name: str,
    kind: Kind,
    configuration: str,
    plans: dict[str, Any],
    dataset: dict[str, Any],
    raw: Path,
    fold: int | str,
) -> None:
    """A checkpoint of nnU-Net's own trainer after a few dozen steps."""
    import numpy as np
    import torch
    from nnunetv2.preprocessing.preprocessors.default_preprocessor import (
        DefaultPreprocessor,
    )
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name
    from nnunetv2.utilities.label_handling.label_handling import (
        convert_labelmap_to_one_hot,
    )

    seed = 0 if fold == "all" else int(fold)
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    cls = recursive_find_trainer_class_by_name(kind.trainer)
    trainer = cls(
        {**json.loads(json.dumps(plans)), "continue_training": False},
        configuration,
        fold,
        dataset,
        device=torch.device("cpu"),
    )
    trainer.enable_deep_supervision = True
    manager, labels = trainer.configuration_manager, trainer.label_manager
    cascade = manager.previous_stage_name is not None
    extra = len(labels.foreground_labels) if cascade else 0
    trainer.num_input_channels = (
        len(dataset.get("modality", dataset.get("channel_names"))) + extra
    )
    trainer.network = trainer.build_network_architecture(
        trainer.plans_manager,
        manager,
        trainer.num_input_channels,
        labels.num_segmentation_heads,
        enable_deep_supervision=True,
    )
    trainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size()
    trainer.optimizer, _ = trainer.configure_optimizers()
    trainer.enable_deep_supervision = False
    loss_of = trainer._build_loss()
    optimizer = torch.optim.Adam(trainer.network.parameters(), 3e-3)
    names = sorted(p.name for p in (raw / "labels").iterdir() if p.suffix != ".json")
    cases = []
    for label in names[:NUM_TRAINING]:
        stem = label.removesuffix(dataset["file_ending"])
        images = sorted(
            str(p) for p in (raw / "images").glob(f"{stem}_*") if p.suffix != ".json"
        )
        cases.append(
            DefaultPreprocessor(verbose=False).run_case(
                images,
                str(raw / "labels" / label),
                trainer.plans_manager,
                manager,
                dataset,
            )[:2]
        )
    patch = manager.patch_size
    for _ in range(kind.steps):
        inputs, targets = [], []
        for _ in range(2):
            data, seg = cases[random.integers(len(cases))]
            if len(patch) == 2:
                index = random.integers(data.shape[1])
                data, seg = data[:, index], seg[:, index]
            width = [(0, 0)] + [
                (0, max(p - n, 0)) for n, p in zip(data.shape[1:], patch, strict=True)
            ]
            data, seg = np.pad(data, width), np.pad(seg, width)
            start = [
                random.integers(n - p + 1)
                for n, p in zip(data.shape[1:], patch, strict=True)
            ]
            box = (
                slice(None),
                *(slice(s, s + p) for s, p in zip(start, patch, strict=True)),
            )
            image, target = data[box], np.maximum(seg[box], 0)
            if cascade:
                earlier = np.roll(target[0], 1, axis=-1)
                hot = convert_labelmap_to_one_hot(
                    earlier, labels.foreground_labels, image.dtype
                )
                image = np.vstack((image, hot))
            if labels.has_regions:
                target = np.stack(
                    [
                        np.isin(target[0], region).astype(np.float32)
                        for region in labels.foreground_regions
                    ]
                )
            inputs.append(torch.from_numpy(np.ascontiguousarray(image)))
            targets.append(torch.from_numpy(np.ascontiguousarray(target)))
        optimizer.zero_grad()
        output = trainer.network(torch.stack(inputs).float())[0]
        loss = loss_of(output, torch.stack(targets).float())
        loss.backward()
        optimizer.step()
    trainer.logger.log("mean_fg_dice", np.float32(0.5), 0)
    trainer._best_ema = np.float64(0.25)
    trainer.optimizer = optimizer
    trainer.current_epoch = 1
    folder = Path(trainer.output_folder)
    if kind.slim:
        trainer.optimizer = torch.optim.SGD(trainer.network.parameters(), 0.01)
    trainer.save_checkpoint(str(folder / "checkpoint_final.pth"))
    for stem, values in (("plans", plans), ("dataset", dataset)):
        (folder.parent / f"{stem}.json").write_text(json.dumps(values))
    print(name, configuration, fold, f"loss {loss.item():.3f}", flush=True)


def predict(folder: Path, images: Path, out: Path, previous: Path | None) -> None:
    """nnU-Net's own label maps."""
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(folder), None)
    out.mkdir(parents=True, exist_ok=True)
    predictor.predict_from_files_sequential(
        str(images),
        str(out),
        folder_with_segs_from_prev_stage=None if previous is None else str(previous),
    )


def postprocess(folder: Path, out: Path, labels: Path, folds: int) -> None:
    """Rules that nnU-Net finds on its own label maps, applied by its own command."""
    import pickle

    from nnunetv2.postprocessing.remove_connected_components import (
        apply_postprocessing_to_folder,
        determine_postprocessing,
        remove_all_but_largest_component_from_segmentation,
    )
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    plans, dataset = (
        json.loads((folder / f"{stem}.json").read_text())
        for stem in ("plans", "dataset")
    )
    functions, arguments = determine_postprocessing(
        str(out), str(labels), plans, dataset, 1, keep_postprocessed_files=False
    )
    if not functions:  # nothing helped: a rule of each kind, as if all had
        manager = PlansManager(plans).get_label_manager(dataset)
        every = (
            manager.foreground_regions
            if manager.has_regions
            else (manager.foreground_labels)
        )
        arguments = [{"labels_or_regions": manager.foreground_labels}]
        arguments += [{"labels_or_regions": one} for one in every[:2]]
        functions = [remove_all_but_largest_component_from_segmentation] * len(
            arguments
        )
    name = f"crossval_results_folds_{'_'.join(map(str, range(folds)))}"
    place = folder / name
    place.mkdir(exist_ok=True)
    (place / "postprocessing.pkl").write_bytes(pickle.dumps((functions, arguments)))
    plain = [
        {k: json.loads(json.dumps(v, default=int)) for k, v in one.items()}
        for one in arguments
    ]
    (place / "postprocessing.json").write_text(
        json.dumps(
            {
                "postprocessing_fns": [f.__name__ for f in functions],
                "postprocessing_kwargs": plain,
            }
        )
    )
    apply_postprocessing_to_folder(
        str(out), f"{out}_cleaned", functions, arguments, plans, dataset, 1
    )


def make(work: Path, name: str, kind: Kind) -> dict[str, Any]:
    """A model with its scans and nnU-Net's label maps; a line for `models.json`."""
    raw, out = work / "scans" / name, work / "peer" / name
    shutil.rmtree(raw, ignore_errors=True)
    dataset = kind.data(raw)
    dataset = {"file_ending": ".nii.gz", "numTraining": NUM_TRAINING, **dataset}
    places = sorted((raw / "images").iterdir())
    first = places[0].name
    if first.endswith(".nrrd"):
        dataset["file_ending"] = ".nrrd"
    plans = write_plans(name, kind, dataset, foreground_statistics(raw, dataset))
    base = work / "results" / plans["dataset_name"]
    stem = f"{kind.trainer}__nnUNetPlans__"
    full = {2: "2d", 3: "3d_fullres"}[len(kind.patch)]
    full = "3d_cascade_fullres" if kind.cascade else full
    test = raw / "test"
    test.mkdir()
    labels = sorted(p for p in (raw / "labels").iterdir() if p.suffix != ".json")
    for label in labels[NUM_TRAINING:]:
        case = label.name.removesuffix(dataset["file_ending"])
        for image in (raw / "images").glob(f"{case}[._]*"):
            shutil.copyfile(image, test / image.name)
    previous = None
    if kind.cascade:
        for fold in range(2):
            train(name, kind, "3d_lowres", plans, dataset, raw, fold)
        previous = out.with_name(f"{name}_lowres")
        predict(base / f"{stem}3d_lowres", test, previous, None)
    for fold in range(kind.folds):
        train(name, kind, full, plans, dataset, raw, fold)
    folder = base / f"{stem}{full}"
    predict(folder, test, out, previous)
    if kind.cleaned:
        own = raw / "references"
        own.mkdir()
        for label in labels[NUM_TRAINING:]:
            shutil.copyfile(label, own / label.name)
        postprocess(folder, out, own, kind.folds)
    return {
        "name": name,
        "model": str(folder.relative_to(work)),
        "scans": str(test.relative_to(work)),
        "peer": str(out.relative_to(work)),
        "ending": dataset["file_ending"],
        "cleaned": f"{out.relative_to(work)}_cleaned" if kind.cleaned else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--only", nargs="*", default=list(MODELS))
    parser.add_argument("--data", type=Path, default=Source.folder)
    arguments = parser.parse_args()
    Source.folder = arguments.data.resolve()
    work = arguments.work.resolve()
    set_paths(work)
    without_transformers()
    for kind in ("raw", "preprocessed", "results"):
        (work / kind).mkdir(parents=True, exist_ok=True)
    table = work / "models.json"
    rows = json.loads(table.read_text()) if table.is_file() else {}
    for name in arguments.only:
        rows[name] = make(work, name, MODELS[name])
        table.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
