"""Milliseconds to augment a batch: medseg, MONAI's dictionary chain, nnU-Net's chain.

    python benchmarks/augmentation.py            a table
    python benchmarks/augmentation.py --json     rows of name, ours, peer, ratio, unit

Same patches, same probabilities, one process with the same threads for all; the
peers' result is collated into a batch, as a loader does. The chains follow
`nnUNetTrainer.get_training_transforms` of nnU-Net 2.8.1 (isotropic plan). nnU-Net's
own library takes part where it is installed; medseg does not depend on it:

    pip install --no-deps --target PEERS batchgeneratorsv2 batchgenerators \
        fft-conv-pytorch acvl-utils
    PYTHONPATH=PEERS python benchmarks/augmentation.py
"""

import argparse
import math
import statistics
import time
import warnings
from collections.abc import Callable

import torch
from machine import describe_machine, print_rows

from medseg.augmentation import AugmentationSettings, augment_batch

Batch = tuple[torch.Tensor, torch.Tensor]
Augment = Callable[[torch.Tensor, torch.Tensor], Batch]

WORKLOADS = {
    "hippocampus 8x1x40x56x40": (8, 1, (40, 56, 40)),
    "body CT 2x1x128x128x128": (2, 1, (128, 128, 128)),
    "tumour MR 2x4x96x96x96": (2, 4, (96, 96, 96)),
    "microscopy 16x3x256x256": (16, 3, (256, 256)),
}


def medseg_chain(size: tuple[int, ...]) -> Augment:
    generator = torch.Generator().manual_seed(0)
    settings = AugmentationSettings()
    return lambda images, labels: augment_batch(
        images, labels, settings, generator=generator, patch_size=size
    )


def monai_chain(size: tuple[int, ...]) -> Augment:
    from monai.transforms import (
        Compose,
        RandAdjustContrastd,
        RandAffined,
        RandFlipd,
        RandGaussianNoised,
        RandGaussianSmoothd,
        RandScaleIntensityd,
        RandSimulateLowResolutiond,
    )

    both, image, dims = ["image", "label"], ["image"], len(size)
    soft = (0.5, 1.0)
    chain = Compose(
        [
            *[RandFlipd(both, prob=0.5, spatial_axis=axis) for axis in range(dims)],
            RandAffined(
                both,
                prob=0.36,  # either of nnU-Net's two chances of 0.2
                rotate_range=[math.radians(30)] * (3 if dims == 3 else 1),
                scale_range=[(-0.3, 0.4)] * dims,
                mode=["bilinear", "nearest"],
                padding_mode="zeros",
                cache_grid=True,
                spatial_size=size,
            ),
            RandGaussianNoised(image, prob=0.1, std=0.1),
            RandGaussianSmoothd(
                image, prob=0.1, sigma_x=soft, sigma_y=soft, sigma_z=soft
            ),
            RandScaleIntensityd(image, prob=0.15, factors=0.25),
            RandSimulateLowResolutiond(
                image,
                prob=0.125,
                zoom_range=(0.5, 1),
                upsample_mode="trilinear" if dims == 3 else "bilinear",
            ),
            RandAdjustContrastd(
                image, prob=0.1, gamma=(0.7, 1.5), invert_image=True, retain_stats=True
            ),
            RandAdjustContrastd(image, prob=0.3, gamma=(0.7, 1.5), retain_stats=True),
        ]
    )
    chain.set_random_state(0)

    def augment(images: torch.Tensor, labels: torch.Tensor) -> Batch:
        done = [
            chain({"image": image, "label": label[None]})
            for image, label in zip(images, labels, strict=True)
        ]
        stacked = torch.stack([item["image"].as_tensor() for item in done])
        return stacked, torch.stack([item["label"].as_tensor()[0] for item in done])

    return augment


def nnunet_chain(size: tuple[int, ...]) -> Augment | None:
    try:
        from batchgeneratorsv2.transforms.intensity.brightness import (
            MultiplicativeBrightnessTransform,
        )
        from batchgeneratorsv2.transforms.intensity.contrast import (
            BGContrast,
            ContrastTransform,
        )
        from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform
        from batchgeneratorsv2.transforms.intensity.gaussian_noise import (
            GaussianNoiseTransform,
        )
        from batchgeneratorsv2.transforms.noise.gaussian_blur import (
            GaussianBlurTransform,
        )
        from batchgeneratorsv2.transforms.spatial.low_resolution import (
            SimulateLowResolutionTransform,
        )
        from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
        from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
        from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
        from batchgeneratorsv2.transforms.utils.random import RandomTransform
        from batchgeneratorsv2.transforms.utils.remove_label import (
            RemoveLabelTansform,
        )
    except ImportError:
        return None
    turn = math.radians(30)
    own = {"synchronize_channels": False, "p_per_channel": 1}
    half = {"synchronize_channels": False, "p_per_channel": 0.5}
    gamma = {"gamma": BGContrast((0.7, 1.5)), "p_retain_stats": 1, **own}
    factor = BGContrast((0.75, 1.25))
    chain = ComposeTransforms(
        [
            SpatialTransform(
                size,
                patch_center_dist_from_border=0,
                random_crop=False,
                p_elastic_deform=0,
                p_rotation=0.2,
                rotation=(-turn, turn),
                p_scaling=0.2,
                scaling=(0.7, 1.4),
                p_synchronize_scaling_across_axes=1,
                bg_style_seg_sampling=False,
                border_mode_seg="constant",
                padding_value_seg=-1,
            ),
            RandomTransform(
                GaussianNoiseTransform(
                    noise_variance=(0, 0.1), p_per_channel=1, synchronize_channels=True
                ),
                apply_probability=0.1,
            ),
            RandomTransform(
                GaussianBlurTransform(
                    blur_sigma=(0.5, 1.0),
                    synchronize_axes=False,
                    benchmark=True,
                    **half,
                ),
                apply_probability=0.2,
            ),
            RandomTransform(
                MultiplicativeBrightnessTransform(multiplier_range=factor, **own),
                apply_probability=0.15,
            ),
            RandomTransform(
                ContrastTransform(contrast_range=factor, preserve_range=True, **own),
                apply_probability=0.15,
            ),
            RandomTransform(
                SimulateLowResolutionTransform(
                    scale=(0.5, 1),
                    synchronize_axes=True,
                    ignore_axes=None,
                    allowed_channels=None,
                    **half,
                ),
                apply_probability=0.25,
            ),
            RandomTransform(
                GammaTransform(p_invert_image=1, **gamma), apply_probability=0.1
            ),
            RandomTransform(
                GammaTransform(p_invert_image=0, **gamma), apply_probability=0.3
            ),
            MirrorTransform(allowed_axes=tuple(range(len(size)))),
            RemoveLabelTansform(-1, 0),
        ]
    )

    def augment(images: torch.Tensor, labels: torch.Tensor) -> Batch:
        done = [
            chain(image=image, segmentation=label[None].to(torch.int16))
            for image, label in zip(images.clone(), labels, strict=True)
        ]
        stacked = torch.stack([item["image"] for item in done])
        return stacked, torch.stack([item["segmentation"][0] for item in done])

    return augment


def measure(
    chains: dict[str, Augment],
    batch: Batch,
    *,
    rounds: int,
    clock: Callable[[], float],
) -> dict[str, float]:
    """Mean milliseconds per batch; the chains take turns, so load hits all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in chains}
    for turn in range(rounds + 2):
        for name, chain in chains.items():
            start = clock()
            chain(*batch)
            if turn >= 2:
                seconds[name].append(clock() - start)
    return {name: 1e3 * statistics.fmean(taken) for name, taken in seconds.items()}


def device_clock() -> float:
    """The time, once the GPU has done what it was asked for."""
    torch.cuda.synchronize()
    return time.perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="rows as JSON")
    parser.add_argument("--rounds", type=int, default=20, help="batches per chain")
    parser.add_argument("--only", default="", help="workloads whose name holds this")
    parser.add_argument("--device", default="cpu", help="cuda: batches lie there")
    parser.add_argument(
        "--busy",
        action="store_true",
        help="for a machine shared with others: CPU time of one thread",
    )
    arguments = parser.parse_args()
    clock, unit = time.perf_counter, "ms/batch"
    if arguments.busy:
        torch.set_num_threads(1)
        clock, unit = time.process_time, "CPU ms/batch, 1 thread"
    if arguments.device != "cpu":
        clock, unit = device_clock, "ms/batch"
    warnings.simplefilter("ignore")
    rows = []
    for name, (num, channels, size) in WORKLOADS.items():
        if arguments.only not in name:
            continue
        generator = torch.Generator().manual_seed(0)
        images = torch.randn((num, channels, *size), generator=generator)
        labels = torch.randint(0, 3, (num, *size), generator=generator)
        chains = {"medseg": medseg_chain(size), "MONAI": monai_chain(size)}
        nnunet = nnunet_chain(size) if arguments.device == "cpu" else None
        if nnunet is not None:  # works on the CPU by its make
            chains["nnU-Net"] = nnunet
        batch = images.to(arguments.device), labels.to(torch.uint8).to(arguments.device)
        took = measure(chains, batch, rounds=arguments.rounds, clock=clock)
        ours = took.pop("medseg")
        new = [
            {
                "name": f"augment {name} vs {peer}",
                "ours": round(ours, 2),
                "peer": round(theirs, 2),
                "ratio": round(theirs / ours, 2),
                "unit": unit,
            }
            for peer, theirs in took.items()
        ]
        rows += new
        for row in new if not arguments.json else []:
            line = "{name:52} {ours:9} {peer:9} {unit} {ratio:6}x"
            print(line.format(**row), flush=True)
    if arguments.json:
        print_rows(rows, machine=describe_machine(arguments.device))


if __name__ == "__main__":
    main()
