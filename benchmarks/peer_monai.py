"""MONAI as a contender, as its dynunet_pipeline tutorial trains on Task04.

    python peer_monai.py WORK JOB --budget 300 --device cpu

DynUNet with the tutorial's kernels, patch (40, 56, 40), batch 9 and augmentation;
CacheDataset, RandCropByPosNegLabeld, Dice and cross-entropy with deep supervision, SGD
with Nesterov momentum 0.99, rate 0.01, polynomial; sliding windows at half overlap.
Whole held-out volumes are looked at on the way, as medseg does, for at most 8 % of the
budget. Written after the tutorial's description; WORK holds ``cases.json`` (see
`time_to_dice.py`).

Source: https://github.com/Project-MONAI/tutorials/tree/main/modules/dynunet_pipeline
"""

import argparse
import json
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

PATCH = (40, 56, 40)
BATCH = 9
VALIDATION_SHARE = 0.08
VALIDATION_CASES = 16

Case = dict[str, Any]


def load_transforms(keys: list[str]) -> list[Any]:
    """Reading and normalising, done once and cached."""
    from monai.transforms import EnsureChannelFirstd, LoadImaged, NormalizeIntensityd

    return [
        LoadImaged(keys),
        EnsureChannelFirstd(keys),
        NormalizeIntensityd("image", nonzero=True, channel_wise=True),
    ]


def random_transforms(patch: tuple[int, ...]) -> list[Any]:
    """The tutorial's augmentation."""
    from monai.transforms import (
        CastToTyped,
        RandCropByPosNegLabeld,
        RandFlipd,
        RandGaussianNoised,
        RandGaussianSmoothd,
        RandScaleIntensityd,
        RandZoomd,
        SpatialPadd,
    )

    both = ["image", "label"]
    soft = {f"sigma_{axis}": (0.5, 1.15) for axis in "xyz"}
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
            num_samples=1,
        ),
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


def make_loader(
    cases: list[Case], *, patch: tuple[int, ...], batch: int, workers: int = 0
) -> Any:
    """Batches of augmented patches; volumes are read and normalised before."""
    from monai.data import CacheDataset, DataLoader
    from monai.transforms import Compose

    chain = Compose([*load_transforms(["image", "label"]), *random_transforms(patch)])
    files = [{"image": c["images"][0], "label": c["label"]} for c in cases]
    dataset = CacheDataset(files, chain, cache_rate=1.0, num_workers=1, progress=False)
    return DataLoader(
        dataset,
        batch_size=batch,
        shuffle=True,
        num_workers=workers,
        drop_last=True,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=workers > 0,
    )


def forever(loader: Any) -> Iterator[dict[str, torch.Tensor]]:
    while True:
        yield from loader


def make_network(*, channels: int, classes: int) -> torch.nn.Module:
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


def stacked_loss() -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Of DynUNet's outputs, one beside the other, halved from one to the next."""
    from monai.losses import DiceCELoss

    single = DiceCELoss(to_onehot_y=True, softmax=True)

    def loss(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        levels = torch.unbind(outputs, dim=1)
        parts = [0.5**n * single(level, labels) for n, level in enumerate(levels)]
        return torch.stack(parts).sum()

    return loss


class Looks:
    """Dice of whole held-out volumes, within a share of the budget."""

    def __init__(self, cases: list[Case], device: torch.device, budget: float) -> None:
        from monai.data import CacheDataset
        from monai.transforms import Compose

        chosen = cases[:: max(1, len(cases) // VALIDATION_CASES)][:VALIDATION_CASES]
        files = [{"image": c["images"][0], "label": c["label"]} for c in chosen]
        chain = Compose(load_transforms(["image", "label"]))
        self.data = CacheDataset(files, chain, num_workers=1, progress=False)
        self.device, self.budget, self.next = device, budget, 0.1

    def take(self, network: torch.nn.Module, done: float) -> float:
        from monai.metrics import DiceMetric
        from monai.networks.utils import one_hot

        start = time.monotonic()
        metric = DiceMetric(include_background=False)
        for item in self.data:
            image = item["image"][None].to(self.device)
            logits = segment(network, image)
            classes = logits.shape[1]
            found = one_hot(logits.argmax(1, keepdim=True), classes)
            metric(found, one_hot(item["label"][None].to(self.device), classes))
        cost = (time.monotonic() - start) / self.budget
        self.next = done + max(0.1, cost / VALIDATION_SHARE)
        return float(metric.aggregate())


def segment(network: torch.nn.Module, image: torch.Tensor) -> torch.Tensor:
    from monai.inferers import sliding_window_inference

    network.eval()
    with torch.no_grad():
        return sliding_window_inference(
            image, PATCH, 4, network, overlap=0.5, mode="gaussian"
        )


def train(cases: dict[str, Any], *, budget: float, device: torch.device) -> Any:
    """The network, and what training came to."""
    torch.manual_seed(0)
    loader = make_loader(cases["train"], patch=PATCH, batch=BATCH)
    classes = 1 + len(cases["labels"])
    network = make_network(channels=len(cases["channels"]), classes=classes).to(device)
    optimizer = torch.optim.SGD(
        network.parameters(), lr=1e-2, momentum=0.99, weight_decay=3e-5, nesterov=True
    )
    loss, looks = stacked_loss(), Looks(cases["held_out"], device, budget)
    batches, steps, seen = forever(loader), 0, []
    start = time.monotonic()
    while (done := (time.monotonic() - start) / budget) < 1:
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 * (1 - done) ** 0.9
        batch = next(batches)
        network.train()
        optimizer.zero_grad()
        value = loss(network(batch["image"].to(device)), batch["label"].to(device))
        value.backward()
        optimizer.step()
        steps += 1
        done = (time.monotonic() - start) / budget
        if looks.next <= done < 1:
            seen.append((done * budget, looks.take(network, done)))
    facts = {"train_seconds": time.monotonic() - start, "steps": steps}
    return network, {**facts, "batch_size": BATCH, "looks": seen}


def predict(network: torch.nn.Module, cases: list[Case], out: Path) -> None:
    """Label maps of whole volumes on their own grid."""
    import nibabel
    from monai.transforms import Compose

    device = next(network.parameters()).device
    chain = Compose(load_transforms(["image"]))
    out.mkdir(exist_ok=True)
    for case in cases:
        image = chain({"image": case["images"][0]})["image"][None].to(device)
        voxels = segment(network, image).argmax(1)[0].cpu().numpy().astype(np.uint8)
        affine = nibabel.load(case["images"][0]).affine
        path = out / f"{case['case_id']}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(voxels, affine), path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("job", type=Path)
    parser.add_argument("--budget", type=float, required=True, help="seconds")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    cases = json.loads((options.work / "cases.json").read_text())
    device = torch.device(options.device)
    network, facts = train(cases, budget=options.budget, device=device)
    start = time.monotonic()
    predict(network, cases["held_out"], options.job / "predictions")
    facts["validation_seconds"] = time.monotonic() - start
    (options.job / "training.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main()
