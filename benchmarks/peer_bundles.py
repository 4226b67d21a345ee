"""MONAI bundles of many kinds, written and trained by MONAI, for checking medseg.

    python peer_bundles.py WORK --data FOLDER [--only NAME ...]

Needs MONAI and nothing of medseg but `tests/support`. Each bundle's folder is made by
``monai.bundle.init_bundle``, its network is trained for `STEPS` steps of Adam (rate
3e-3, seed 0) on one or two cases that its own preprocessing prepared, and its
configuration has the form of MONAI's model zoo, everyday expressions included. The
networks are small and know little: what is compared is arithmetic. WORK gets a folder
for each bundle and one for its scans.
"""

import argparse
import json
import shutil
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai.bundle import ConfigParser, init_bundle
from monai.losses import DiceCELoss
from monai.transforms import ResampleToMatch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from monai_bundles import config_of, metadata_of

STEPS = 60
Json = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """A bundle: its scans, and what its inference does.

    Attributes:
        scans: Writes training and test cases, and says which are which.
        network: ``network_def``.
        before: Transforms from the scan to the network's input.
        inferer: How the network goes over it.
        after: Transforms from the network's answer to the saved file.
        outputs: What the channels of the answer are.
        inputs: What the channels of the scan are.
        items: How a list of files becomes items.
        patch: Voxels of a training patch; by default the window.
    """

    scans: Callable[[Path, Path], list[tuple[Any, Path]]]
    network: Json
    before: Sequence[Json]
    inferer: Json
    after: Sequence[Json]
    outputs: Sequence[str]
    inputs: Sequence[str] = ("image",)
    items: str = "$[{'image': i} for i in @datalist]"
    datalist: str = "$list(sorted(glob.glob(@dataset_dir + '/*.nii.gz')))"
    modality: str = "MR"
    patch: Sequence[int] | None = None


def step(name: str, keys: str = "image", **values: Any) -> Json:
    return {"_target_": name, "keys": keys, **values}


LOAD = [step("LoadImaged"), step("EnsureChannelFirstd")]
RAS = step("Orientationd", axcodes="RAS")
TYPE = step("EnsureTyped")
PERCENTILES = step(
    "ScaleIntensityRangePercentilesd", lower=1, upper=99, b_min=0.0, b_max=1.0
)
SOFTMAX = step("Activationsd", "pred", softmax=True)
SIGMOID = step("Activationsd", "pred", sigmoid=True)
ARGMAX = step("AsDiscreted", "pred", argmax=True)
SAVE = step(
    "SaveImaged",
    "pred",
    output_dir="@output_dir",
    output_postfix="",
    separate_folder=False,
)


def invert(*, nearest: bool = False) -> Json:
    return step(
        "Invertd",
        "pred",
        transform="@preprocessing",
        orig_keys="image",
        nearest_interp=nearest,
        to_tensor=True,
    )


def windows(*size: int, **values: Any) -> Json:
    return {
        "_target_": "SlidingWindowInferer",
        "roi_size": list(size),
        "sw_batch_size": 2,
        "overlap": 0.5,
        **values,
    }


# Scans -----------------------------------------------------------------------------


def thorax(data: Path, out: Path) -> list[tuple[Any, Path]]:
    """Two parts of the thorax CT: one to train on, one to test with."""
    name = "thorax_ct_512x512x105.nii.gz"
    folder = data / "real_size_volumes"
    image, label = (
        nib.load(folder / "images" / name),
        nib.load(folder / "labels" / name),
    )
    parts = {"train": slice(110, 260), "test": slice(240, 400)}
    pairs = []
    for kind, side in parts.items():
        files = [out / kind / "a.nii.gz", out / f"{kind}_labels" / "a.nii.gz"]
        for source, file in zip((image, label), files, strict=True):
            file.parent.mkdir(parents=True, exist_ok=True)
            nib.save(source.slicer[side, 150:330, 30:90], file)
        pairs.append((files[0], files[1]))
    return pairs


def tumours(data: Path, out: Path) -> list[tuple[Any, Path]]:
    """FLAIR and T1c of two patients, the middle of the head."""
    folder = data / "brats2013"
    pairs = []
    for kind, patient in (("train", "pat0001"), ("test", "pat0002")):
        stem = f"brats_2013_{patient}_1"
        files = []
        for channel in ("flair", "t1c"):
            file = out / kind / f"{patient}_{channel}.nii.gz"
            cut(folder / "images" / f"{stem}_{channel}.nii.gz", file)
            files.append(file)
        label = out / f"{kind}_labels" / "a.nii.gz"
        cut(folder / "labels" / f"{stem}.nii.gz", label)
        pairs.append((files, label))
    return pairs


def cut(source: Path, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.load(source).slicer[60:190, 40:200, 40:110], file)


def hippocampi(data: Path, out: Path) -> list[tuple[Any, Path]]:
    """Two crops to train on, two to test with, turned otherwise."""
    folder = data / "hippocampus"
    files = sorted((folder / "imagesTr").glob("*.nii.gz"))[:4]
    pairs = []
    for number, source in enumerate(files):
        kind = "train" if number < 2 else "test"
        image = out / kind / source.name
        label = out / f"{kind}_labels" / source.name
        for path, file in ((source, image), (folder / "labelsTr" / source.name, label)):
            file.parent.mkdir(parents=True, exist_ok=True)
            turned = nib.as_closest_canonical(nib.load(path))
            orientation = nib.orientations.axcodes2ornt("PLS" if number % 2 else "LPI")
            nib.save(turned.as_reoriented(orientation), file)
        pairs.append((image, label))
    return pairs


def pictures(data: Path, out: Path) -> list[tuple[Any, Path]]:
    """Grey pictures of nuclei."""
    from PIL import Image

    names = ("00071198d059", "003cee89357d", "00ae65c1c663")
    pairs = []
    for number, name in enumerate(names):
        kind = "train" if number < 2 else "test"
        image, label = out / kind / f"{name}.png", out / f"{kind}_labels" / "l"
        label = label.with_name(f"{name}.nii.gz")
        for file in (image, label):
            file.parent.mkdir(parents=True, exist_ok=True)
        grey = Image.open(data / "nuclei" / "images" / f"{name}.png").convert("L")
        grey.crop((0, 0, 250, 230)).save(image)
        nuclei = Image.open(data / "nuclei" / "labels" / f"{name}.png")
        array = np.asarray(nuclei.crop((0, 0, 250, 230))).T > 0
        nib.save(nib.Nifti1Image(array.astype(np.uint8), np.eye(4)), label)
        pairs.append((image, label))
    return pairs


# Kinds -----------------------------------------------------------------------------

HIPPOCAMPUS = ("background", "anterior", "posterior")
ORGANS = ("background", *(f"organ {n}" for n in range(1, 7)))

KINDS = {
    "unet_ct": Kind(
        thorax,
        {
            "_target_": "UNet",
            "spatial_dims": 3,
            "in_channels": 1,
            "out_channels": 7,
            "channels": [8, 16, 32],
            "strides": [2, 2],
            "num_res_units": 2,
            "norm": "batch",
        },
        [
            *LOAD,
            RAS,
            step("Spacingd", pixdim=[1.5, 1.5, 2.0], mode="bilinear"),
            step(
                "ScaleIntensityRanged",
                a_min=-400,
                a_max=400,
                b_min=0,
                b_max=1,
                clip=True,
            ),
            TYPE,
        ],
        windows(48, 48, 32),
        [SOFTMAX, invert(), ARGMAX, SAVE],
        ORGANS,
        modality="CT",
    ),
    "segresnet_masks": Kind(
        tumours,
        {
            "_target_": "SegResNet",
            "spatial_dims": 3,
            "blocks_down": [1, 1, 2],
            "blocks_up": [1, 1],
            "init_filters": 8,
            "in_channels": 2,
            "out_channels": 3,
            "dropout_prob": 0.2,
        },
        [
            step("LoadImaged"),
            step("NormalizeIntensityd", nonzero=True, channel_wise=True),
        ],
        windows(64, 64, 48),
        [
            SIGMOID,
            invert(),
            step("AsDiscreted", "pred", threshold=0.5),
            {**SAVE, "output_dtype": "uint8", "resample": False},
        ],
        ("tumour core", "whole tumour", "enhancing tumour"),
        inputs=("FLAIR", "T1c"),
        datalist="$list(sorted(glob.glob(@dataset_dir + '/*_flair.nii.gz')))",
        items="$[{'image': [i, i.replace('_flair', '_t1c')]} for i in @datalist]",
    ),
    "dynunet_cropped": Kind(
        hippocampi,
        {
            "_target_": "DynUNet",
            "spatial_dims": 3,
            "in_channels": 1,
            "out_channels": 3,
            "kernel_size": [3, 3, 3],
            "strides": [1, 2, 2],
            "upsample_kernel_size": [2, 2],
            "filters": [8, 16, 24],
            "norm_name": "INSTANCE",
            "deep_supervision": True,
            "deep_supr_num": 1,
        },
        [
            *LOAD,
            step(
                "CropForegroundd",
                source_key="image",
                select_fn="$lambda x: x > 20",
                margin=2,
                allow_smaller=True,
            ),
            RAS,
            PERCENTILES,
            TYPE,
        ],
        windows(24, 32, 24, mode="gaussian"),
        [
            ARGMAX,
            step("KeepLargestConnectedComponentd", "pred", applied_labels=[1, 2]),
            invert(nearest=True),
            SAVE,
        ],
        HIPPOCAMPUS,
    ),
    "swinunetr": Kind(
        hippocampi,
        {
            "_target_": "SwinUNETR",
            "spatial_dims": 3,
            "in_channels": 1,
            "out_channels": 3,
            "feature_size": 12,
            "use_checkpoint": False,
        },
        [*LOAD, RAS, PERCENTILES, TYPE],
        windows(64, 32, 32, overlap=0.25, mode="gaussian"),
        [SOFTMAX, invert(), ARGMAX, SAVE],
        HIPPOCAMPUS,
    ),
    "unetr_spacing": Kind(
        hippocampi,
        {
            "_target_": "UNETR",
            "in_channels": 1,
            "out_channels": 3,
            "img_size": [32, 32, 32],
            "feature_size": 8,
            "hidden_size": 48,
            "mlp_dim": 96,
            "num_heads": 4,
        },
        [
            *LOAD,
            {**RAS, "axcodes": "LPS"},
            step("Spacingd", pixdim=[1.2, 0.9, 1.1], mode="bilinear"),
            step("NormalizeIntensityd", nonzero=True),
        ],
        windows(32, 32, 32, padding_mode="replicate"),
        [ARGMAX, {**SAVE, "resample": True}],
        HIPPOCAMPUS,
    ),
    "unet_slices": Kind(
        hippocampi,
        {
            "_target_": "UNet",
            "spatial_dims": 2,
            "in_channels": 1,
            "out_channels": 3,
            "channels": [16, 32, 48],
            "strides": [2, 2],
            "num_res_units": 2,
        },
        [*LOAD, step("ScaleIntensityd"), TYPE],
        {"_target_": "SliceInferer", "roi_size": [32, 32], "spatial_dim": 2},
        [SOFTMAX, invert(), ARGMAX, SAVE],
        HIPPOCAMPUS,
    ),
    "segresnetds_whole": Kind(
        hippocampi,
        {
            "_target_": "SegResNetDS",
            "init_filters": 8,
            "in_channels": 1,
            "out_channels": 3,
            "blocks_down": [1, 1, 1],
            "norm": "INSTANCE",
            "dsdepth": 2,
        },
        [
            *LOAD,
            RAS,
            step("Resized", spatial_size=[40, 48, 40], mode="trilinear"),
            PERCENTILES,
        ],
        {"_target_": "SimpleInferer"},
        [invert(), {**ARGMAX, "to_onehot": 3}, SAVE],
        HIPPOCAMPUS,
        patch=(40, 48, 40),
    ),
    "pictures": Kind(
        pictures,
        {
            "_target_": "UNet",
            "spatial_dims": 2,
            "in_channels": 1,
            "out_channels": 1,
            "channels": [16, 32, 48],
            "strides": [2, 2],
            "num_res_units": 2,
        },
        [*LOAD, step("ScaleIntensityd"), step("DivisiblePadd", k=16)],
        {"_target_": "SimpleInferer"},
        [
            SIGMOID,
            invert(),
            step("AsDiscreted", "pred", threshold=0.5),
            {**SAVE, "output_ext": ".png", "scale": 255},
        ],
        ("nuclei",),
        datalist="$list(sorted(glob.glob(@dataset_dir + '/*.png')))",
        modality="microscopy",
        patch=(64, 64),
    ),
}


def trained(kind: Kind, config: Json, pairs: list[tuple[Any, Path]]) -> Any:
    """The network after a few steps on patches of prepared cases."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    parser = ConfigParser(config)
    network = parser.get_parsed_content("network_def").train()
    prepare = parser.get_parsed_content("preprocessing")
    cases = [prepared(prepare, *pair, masks=len(kind.outputs)) for pair in pairs]
    masks = "sigmoid" in json.dumps(kind.after)
    loss = DiceCELoss(to_onehot_y=not masks, softmax=not masks, sigmoid=masks)
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    size = kind.patch or kind.inferer["roi_size"]
    for _ in range(STEPS):
        image, label = cases[rng.integers(len(cases))]
        if len(size) < image.ndim - 1:  # slices
            number = int(rng.integers(image.shape[-1]))
            image, label = image[..., number], label[..., number]
        images, labels = patch(image, label, size, rng)
        found = network(images)
        if isinstance(found, list | tuple):
            found = found[0]
        if found.ndim > images.ndim:  # deep supervision of DynUNet
            found = found[:, 0]
        optimiser.zero_grad()
        value = loss(found, labels)
        value.backward()
        optimiser.step()
    print(f"  loss {float(value):.3f}", flush=True)
    return network.eval()


def prepared(prepare: Any, image: Any, label: Path, *, masks: int) -> tuple[Any, Any]:
    """A case's image by the bundle's own transforms, its label on the same grid."""
    from monai.transforms import EnsureChannelFirst, LoadImage

    given = [str(p) for p in image] if isinstance(image, list) else str(image)
    item = prepare({"image": given})["image"]
    mask = EnsureChannelFirst()(LoadImage()(str(label)))
    if item.ndim == 3:  # pictures, which have no world: padded as the image was
        grown = torch.zeros(1, *item.shape[1:])
        before = [
            (n - m) // 2 for n, m in zip(item.shape[1:], mask.shape[1:], strict=True)
        ]
        place = [slice(b, b + m) for b, m in zip(before, mask.shape[1:], strict=True)]
        grown[(slice(None), *place)] = mask.as_tensor()
        return item.as_tensor(), grown
    mask = ResampleToMatch()(mask, item, mode="nearest").as_tensor()
    if masks == 3 and item.shape[0] == 2:  # tumour core, whole, enhancing
        mask = torch.cat([(mask == 1) | (mask == 3) | (mask == 4), mask > 0, mask == 4])
    return item.as_tensor(), mask.float()


def patch(image: Any, label: Any, size: Sequence[int], rng: Any) -> tuple[Any, Any]:
    """A batch of one, around a voxel of the foreground where there is one."""
    inside = torch.nonzero(label.amax(dim=0))
    centre = inside[rng.integers(len(inside))].tolist() if len(inside) else [0] * 3
    starts, missing = [], []
    for length, side, middle in zip(image.shape[1:], size, centre, strict=False):
        starts.append(int(np.clip(middle - side // 2, 0, max(length - side, 0))))
        missing = [0, max(side - length, 0), *missing]
    place = [slice(s, s + n) for s, n in zip(starts, size, strict=True)]
    parts = [part[(slice(None), *place)] for part in (image, label)]
    padded = [torch.nn.functional.pad(p, missing)[None] for p in parts]
    return padded[0], padded[1]


def make(name: str, work: Path, data: Path) -> None:
    kind = KINDS[name]
    config = config_of(
        kind.network,
        before=kind.before,
        inferer=kind.inferer,
        after=kind.after,
        datalist=kind.datalist,
        items=kind.items,
    )
    folder, scans = work / name / "bundle", work / name / "scans"
    shutil.rmtree(work / name, ignore_errors=True)
    scans.mkdir(parents=True)
    pairs = kind.scans(data, scans)
    train = [pair for pair in pairs if "train" in str(pair[1])]
    network = trained(kind, config, train)
    init_bundle(
        folder,
        network=network,
        metadata_str=metadata_of(
            kind.outputs, inputs=kind.inputs, modality=kind.modality
        ),
        inference_str=config,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", nargs="*")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    for name in arguments.only or KINDS:
        print(name, flush=True)
        make(name, arguments.work, arguments.data)


if __name__ == "__main__":
    main()
