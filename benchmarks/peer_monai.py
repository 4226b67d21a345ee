"""MONAI as a contender, by two recipes.

    python peer_monai.py WORK JOB --recipe tutorial --budget 300 --device cpu

`tutorial`, as its dynunet_pipeline tutorial trains on Task04 on a GPU: DynUNet with the
tutorial's kernels, patch (40, 56, 40), batch 9 and augmentation; Dice and cross-entropy
with deep supervision, SGD with Nesterov momentum 0.99, rate 0.01, polynomial.

`unet`, as a user on a CPU would train: MONAI's UNet of 16 to 256 channels with strides
of 2 and two residual units, patches of 32 x 48 x 32, two of each of four cases a step,
Dice and cross-entropy, Adam at 0.001, cosine to the end of the budget.

Both: CacheDataset, RandCropByPosNegLabeld, sliding windows at half overlap. Whole
held-out volumes are looked at on the way, as medseg does, for at most 8 % of the
budget. WORK holds ``cases.json`` (see `time_to_dice.py`).

Source: https://github.com/Project-MONAI/tutorials/tree/main/modules/dynunet_pipeline
"""

import argparse
import json
import math
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

VALIDATION_SHARE = 0.08
VALIDATION_CASES = 16
CLOCKS = {"wall": time.monotonic, "cpu": time.process_time}

Case = dict[str, Any]
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Recipe:
    """What differs between the two."""

    patch: tuple[int, ...]
    cases_per_batch: int
    patches_per_case: int
    augment: Callable[[], list[Any]]
    network: Callable[[int, int], torch.nn.Module]
    """From channels and classes."""
    loss: Callable[[], Loss]
    optimizer: Callable[[Iterable[torch.nn.Parameter]], torch.optim.Optimizer]
    rate: Callable[[float], float]
    """The learning rate after a share of the budget."""

    @property
    def batch_size(self) -> int:
        return self.cases_per_batch * self.patches_per_case


def load_transforms(keys: list[str]) -> list[Any]:
    """Reading and normalising, done once and cached."""
    from monai.transforms import EnsureChannelFirstd, LoadImaged, NormalizeIntensityd

    return [
        LoadImaged(keys),
        EnsureChannelFirstd(keys),
        NormalizeIntensityd("image", nonzero=True, channel_wise=True),
    ]


def crops(patch: tuple[int, ...], *, samples: int) -> list[Any]:
    """Patches, every second of which has its centre in a structure."""
    from monai.transforms import RandCropByPosNegLabeld, SpatialPadd

    both = ["image", "label"]
    return [
        SpatialPadd(both, spatial_size=patch),
        RandCropByPosNegLabeld(
            both,
            label_key="label",
            image_key="image",
            image_threshold=0,
            spatial_size=patch,
            pos=1,
            neg=1,
            num_samples=samples,
        ),
    ]


def tutorial_augmentation() -> list[Any]:
    """The tutorial's."""
    from monai.transforms import (
        CastToTyped,
        RandFlipd,
        RandGaussianNoised,
        RandGaussianSmoothd,
        RandScaleIntensityd,
        RandZoomd,
    )

    both = ["image", "label"]
    soft = {f"sigma_{axis}": (0.5, 1.15) for axis in "xyz"}
    return [
        RandZoomd(
            both,
            min_zoom=0.9,
            max_zoom=1.2,
            mode=("trilinear", "nearest"),
            align_corners=(True, None),
            prob=0.15,
        ),
        RandGaussianNoised("image", std=0.01, prob=0.15),
        RandGaussianSmoothd("image", prob=0.15, **soft),
        RandScaleIntensityd("image", factors=0.3, prob=0.15),
        *[RandFlipd(both, spatial_axis=[axis], prob=0.5) for axis in range(3)],
        CastToTyped(both, dtype=(np.float32, np.uint8)),
    ]


def make_loader(cases: list[Case], recipe: Recipe, *, workers: int = 0) -> Any:
    """Batches of augmented patches; volumes are read and normalised before."""
    from monai.data import CacheDataset, DataLoader
    from monai.transforms import Compose

    chain = Compose(
        [
            *load_transforms(["image", "label"]),
            *crops(recipe.patch, samples=recipe.patches_per_case),
            *recipe.augment(),
        ]
    )
    files = [{"image": c["images"][0], "label": c["label"]} for c in cases]
    dataset = CacheDataset(files, chain, cache_rate=1.0, num_workers=1, progress=False)
    return DataLoader(
        dataset,
        batch_size=recipe.cases_per_batch,
        shuffle=True,
        num_workers=workers,
        drop_last=True,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=workers > 0,
    )


def forever(loader: Any) -> Iterator[dict[str, torch.Tensor]]:
    while True:
        yield from loader


def tutorial_network(channels: int, classes: int) -> torch.nn.Module:
    """The tutorial's DynUNet for Task04: halved while an axis has 8 voxels."""
    from monai.networks.nets import DynUNet

    strides = [[1, 1, 1], [2, 2, 2], [2, 2, 2], [2, 2, 2]]
    return DynUNet(
        spatial_dims=3,
        in_channels=channels,
        out_channels=classes,
        kernel_size=[[3, 3, 3]] * 4,
        strides=strides,
        upsample_kernel_size=strides[1:],
        norm_name="instance",
        deep_supervision=True,
        deep_supr_num=1,
    )


def small_unet(channels: int, classes: int) -> torch.nn.Module:
    from monai.networks.nets import UNet

    return UNet(
        spatial_dims=3,
        in_channels=channels,
        out_channels=classes,
        channels=(16, 32, 64, 128, 256),
        strides=(2, 2, 2, 2),
        num_res_units=2,
    )


def plain_loss() -> Loss:
    from monai.losses import DiceCELoss

    return DiceCELoss(to_onehot_y=True, softmax=True)


def stacked_loss() -> Loss:
    """Of DynUNet's outputs, one beside the other, halved from one to the next."""
    from monai.losses import DiceCELoss

    single = DiceCELoss(to_onehot_y=True, softmax=True)

    def loss(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        levels = torch.unbind(outputs, dim=1)
        parts = [0.5**n * single(level, labels) for n, level in enumerate(levels)]
        return torch.stack(parts).sum()

    return loss


RECIPES = {
    "tutorial": Recipe(
        patch=(40, 56, 40),
        cases_per_batch=9,
        patches_per_case=1,
        augment=tutorial_augmentation,
        network=tutorial_network,
        loss=stacked_loss,
        optimizer=lambda weights: torch.optim.SGD(
            weights, lr=1e-2, momentum=0.99, weight_decay=3e-5, nesterov=True
        ),
        rate=lambda done: 1e-2 * (1 - done) ** 0.9,
    ),
    "unet": Recipe(
        patch=(32, 48, 32),
        cases_per_batch=4,
        patches_per_case=2,
        augment=list,
        network=small_unet,
        loss=plain_loss,
        optimizer=lambda weights: torch.optim.Adam(weights, lr=1e-3),
        rate=lambda done: 1e-3 * 0.5 * (1 + math.cos(math.pi * done)),
    ),
}


class ValidationSchedule:
    """Dice of whole held-out volumes, within a share of the budget."""

    def __init__(self, cases: list[Case], recipe: Recipe, device: torch.device) -> None:
        from monai.data import CacheDataset
        from monai.transforms import Compose

        chosen = cases[:: max(1, len(cases) // VALIDATION_CASES)][:VALIDATION_CASES]
        files = [{"image": c["images"][0], "label": c["label"]} for c in chosen]
        chain = Compose(load_transforms(["image", "label"]))
        self.data = CacheDataset(files, chain, num_workers=1, progress=False)
        self.recipe, self.device, self.next = recipe, device, 0.1

    def take(self, network: torch.nn.Module) -> float:
        from monai.metrics import DiceMetric
        from monai.networks.utils import one_hot

        metric = DiceMetric(include_background=False)
        for item in self.data:
            image = item["image"][None].to(self.device)
            logits = segment(network, image, self.recipe.patch)
            classes = logits.shape[1]
            found = one_hot(logits.argmax(1, keepdim=True), classes)
            metric(found, one_hot(item["label"][None].to(self.device), classes))
        return float(metric.aggregate())

    def cost(self, share: float, done: float) -> None:
        """Plans the next look, given what share of the budget this one took."""
        self.next = done + max(0.1, share / VALIDATION_SHARE)


def segment(
    network: torch.nn.Module, image: torch.Tensor, patch: tuple[int, ...]
) -> torch.Tensor:
    from monai.inferers import sliding_window_inference

    network.eval()
    with torch.no_grad():
        return sliding_window_inference(
            image, patch, 4, network, overlap=0.5, mode="gaussian"
        )


def train(
    cases: dict[str, Any],
    recipe: Recipe,
    *,
    budget: float,
    clock: Callable[[], float],
    device: torch.device,
) -> Any:
    """The network, and what training came to."""
    torch.manual_seed(0)
    loader = make_loader(cases["train"], recipe)
    classes = 1 + len(cases["labels"])
    network = recipe.network(len(cases["channels"]), classes).to(device)
    optimizer = recipe.optimizer(network.parameters())
    loss, looks = recipe.loss(), ValidationSchedule(cases["held_out"], recipe, device)
    batches, steps, seen = forever(loader), 0, []
    start = clock()
    while (done := (clock() - start) / budget) < 1:
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate(done)
        batch = next(batches)
        network.train()
        optimizer.zero_grad()
        value = loss(network(batch["image"].to(device)), batch["label"].to(device))
        value.backward()
        optimizer.step()
        steps += 1
        done = (clock() - start) / budget
        if looks.next <= done < 1:
            seen.append((done * budget, looks.take(network)))
            looks.cost((clock() - start) / budget - done, done)
    facts = {"train_seconds": clock() - start, "steps": steps}
    return network, {**facts, "batch_size": recipe.batch_size, "looks": seen}


def predict(
    network: torch.nn.Module, cases: list[Case], out: Path, patch: tuple[int, ...]
) -> None:
    """Label maps of whole volumes on their own grid."""
    import nibabel
    from monai.transforms import Compose

    device = next(network.parameters()).device
    chain = Compose(load_transforms(["image"]))
    out.mkdir(exist_ok=True)
    for case in cases:
        image = chain({"image": case["images"][0]})["image"][None].to(device)
        logits = segment(network, image, patch)
        voxels = logits.argmax(1)[0].cpu().numpy().astype(np.uint8)
        affine = nibabel.load(case["images"][0]).affine
        path = out / f"{case['case_id']}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(voxels, affine), path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("job", type=Path)
    parser.add_argument("--recipe", choices=RECIPES, default="tutorial")
    parser.add_argument("--budget", type=float, required=True, help="seconds")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    cases = json.loads((options.work / "cases.json").read_text())
    recipe, device = RECIPES[options.recipe], torch.device(options.device)
    clock = CLOCKS[options.clock]
    network, facts = train(
        cases, recipe, budget=options.budget, clock=clock, device=device
    )
    start = clock()
    predict(network, cases["held_out"], options.job / "predictions", recipe.patch)
    facts["validation_seconds"] = clock() - start
    (options.job / "training.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main()
