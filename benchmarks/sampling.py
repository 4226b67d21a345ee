"""Patches per second and memory: medseg's store, MONAI's cache, nnU-Net's loader.

    python benchmarks/sampling.py            a table
    python benchmarks/sampling.py --json     rows of name, ours, peer, ratio, unit, ...

Every side gets the same voxels and delivers batches of float32 images and label maps
with a third of the patches around a structure, without augmentation, in one process
with one thread. Sides run one after the other, each in a fresh process, several
rounds; a row has the medians and the peak memory (RSS) of the process. nnU-Net takes
part where its loader can be imported; medseg does not depend on it:

    pip install --no-deps --target PEERS nnunetv2 batchgenerators batchgeneratorsv2 \
        acvl-utils dynamic-network-architectures
    PYTHONPATH=PEERS python benchmarks/sampling.py

The hippocampus workload uses the Decathlon set where `--data` finds it, else noise of
the same sizes.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from machine import describe_machine, print_rows

from medseg.geometry import Grid, Reorientation
from medseg.placement import Placement
from medseg.store.stored_case import StoredCase, write_case
from medseg.store.voxel_index import build_index

ROOT = Path(__file__).resolve().parents[1]
SHARE = 1 / 3
NextBatch = Callable[[], int]


@dataclass(frozen=True)
class Workload:
    """Volumes to draw from and patches to draw."""

    patch: tuple[int, int, int]
    batch: int
    classes: int


WORKLOADS = {
    "hippocampus 40x56x40": Workload((40, 56, 40), 8, 3),
    "320x320x200, 128x128x128": Workload((128, 128, 128), 2, 3),
}


def medseg_store(folder: Path, work: Workload) -> NextBatch:
    from medseg.sampling import PatchSampler, SamplingSettings, gather

    cases = stored(folder)
    settings = SamplingSettings(strategy="foreground", foreground_share=SHARE)
    sampler = PatchSampler(cases, patch_size=work.patch, settings=settings, seed=0)

    def next_batch() -> int:
        batch = gather(cases, sampler.draw(work.batch), spatial_dims=3)
        return len(batch.images)

    return next_batch


def medseg_lesions(folder: Path, work: Workload) -> NextBatch:
    """The strategy that looks at most, with its ledger."""
    from medseg.sampling import PatchSampler, SamplingSettings, SamplingStats, gather

    cases = stored(folder)
    settings = SamplingSettings(strategy="lesion_balanced", foreground_share=SHARE)
    sampler = PatchSampler(cases, patch_size=work.patch, settings=settings, seed=0)
    names = [f"structure {number}" for number in range(1, work.classes)]
    sampling_stats = SamplingStats(
        cases, structures=names, size_bins=settings.size_bins
    )

    def next_batch() -> int:
        draws = sampler.draw(work.batch)
        batch = gather(cases, draws, spatial_dims=3)
        sampling_stats.add(draws, batch.labels.numpy())
        return len(batch.images)

    return next_batch


def monai_default(folder: Path, work: Workload) -> NextBatch:
    """As MONAI's tutorials do: crops of a cached volume, its indices found anew."""
    return _monai(folder, work, num_samples=1, indices=False, copy=True)


def monai_four(folder: Path, work: Workload) -> NextBatch:
    """Four patches of each volume at a time."""
    return _monai(folder, work, num_samples=4, indices=False, copy=True)


def monai_tuned(folder: Path, work: Workload) -> NextBatch:
    """Indices cached, the cache not copied, four patches of each volume."""
    return _monai(folder, work, num_samples=4, indices=True, copy=False)


def _monai(
    folder: Path, work: Workload, *, num_samples: int, indices: bool, copy: bool
) -> NextBatch:
    import torch
    from monai.data import CacheDataset, DataLoader
    from monai.transforms import (
        Compose,
        EnsureTyped,
        FgBgToIndicesd,
        RandCropByPosNegLabeld,
        SpatialPadd,
    )

    both = ["image", "label"]
    items = [
        {"image": case.read_image(), "label": case.read_label()[None]}
        for case in stored(folder)
    ]
    fixed = [EnsureTyped(both), SpatialPadd(both, work.patch)]
    keys = {}
    if indices:
        fixed.append(FgBgToIndicesd("label"))
        keys = {"fg_indices_key": "label_fg_indices"}
        keys |= {"bg_indices_key": "label_bg_indices"}
    crop = RandCropByPosNegLabeld(
        both,
        label_key="label",
        spatial_size=work.patch,
        pos=SHARE,
        neg=1 - SHARE,
        num_samples=num_samples,
        **keys,
    )
    dataset = CacheDataset(
        items, Compose([*fixed, crop]), progress=False, copy_cache=copy
    )
    del items
    size = max(1, work.batch // num_samples)

    def collate(rows: list) -> dict:
        patches = [row for group in rows for row in group]
        return {key: torch.stack([patch[key] for patch in patches]) for key in both}

    loader = DataLoader(dataset, batch_size=size, shuffle=True, collate_fn=collate)
    stream = endless(loader)
    return lambda: len(next(stream)["image"])


def nnunet(folder: Path, work: Workload) -> NextBatch:
    from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
    from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

    labels = SimpleNamespace(
        all_labels=list(range(1, work.classes)), has_ignore_label=False
    )
    loader = nnUNetDataLoader(
        nnUNetDatasetBlosc2(str(folder / "nnunet")),
        work.batch,
        work.patch,
        work.patch,
        labels,
        oversample_foreground_percent=SHARE,
    )
    return lambda: len(loader.generate_train_batch()["data"])


SIDES = {
    "medseg": medseg_store,
    "medseg lesion-balanced, with ledger": medseg_lesions,
    "MONAI": monai_default,
    "MONAI 4 samples": monai_four,
    "MONAI 4 samples, indices cached, no copy": monai_tuned,
    "nnU-Net": nnunet,
}


def endless(loader):
    while True:
        yield from loader


def stored(folder: Path) -> list[StoredCase]:
    return [StoredCase(path) for path in sorted((folder / "medseg").iterdir())]


def make_hippocampus(folder: Path, data: Path) -> str:
    if (data / "dataset.json").is_file():
        from medseg.datasets import load_dataset
        from medseg.preparation import prepare

        store = prepare(load_dataset(data), folder / "store", workers=1)
        (folder / "medseg").symlink_to(store.folder / "cases")
        return f"{len(store.case_ids)} cases of {data.name}"
    rng = np.random.default_rng(0)
    for number in range(200):
        shape = tuple(int(n) for n in rng.integers((31, 40, 24), (44, 60, 48)))
        write_volume(folder / "medseg" / f"case_{number:03d}", shape, number)
    return "200 cases of noise"


def make_large(folder: Path, data: Path) -> str:
    del data
    for number in range(8):
        write_volume(folder / "medseg" / f"case_{number}", (320, 320, 200), number)
    return "8 cases of smooth noise with 30 lesions"


MAKERS = dict(zip(WORKLOADS, (make_hippocampus, make_large), strict=True))


def write_volume(folder: Path, shape: tuple[int, ...], seed: int) -> None:
    """Smooth noise with ellipsoids of two structures."""
    from scipy import ndimage

    rng = np.random.default_rng(seed)
    coarse = rng.normal(size=tuple(n // 8 + 2 for n in shape)).astype(np.float32)
    zoom = [(n + 1) / m for n, m in zip(shape, coarse.shape, strict=True)]
    image = ndimage.zoom(coarse, zoom, order=1)[tuple(slice(n) for n in shape)]
    image = image + rng.normal(0, 0.1, shape).astype(np.float32)
    label = np.zeros(shape, dtype=np.uint8)
    for _ in range(30):
        radius = rng.integers(2, max(3, min(shape) // 12))
        center = [int(rng.integers(radius, n - radius)) for n in shape]
        cut = tuple(slice(c - radius, c + radius + 1) for c in center)
        ball = np.linalg.norm(np.indices([2 * radius + 1] * 3) - radius, axis=0)
        label[cut][ball <= radius] = rng.integers(1, 3)
    grid = Grid(tuple(shape), np.eye(4))
    crop = tuple((0, n) for n in shape)
    still = Reorientation((0, 1, 2), (False, False, False))
    write_case(
        folder,
        key="benchmark",
        image=image[None],
        label=label,
        index=build_index(label, 3, rng),
        placement=Placement(grid, still, crop, grid),
    )


def make_nnunet(folder: Path, work: Workload) -> bool:
    """The same voxels as nnU-Net's preprocessing writes them, if it is there."""
    try:
        from nnunetv2.preprocessing.preprocessors.default_preprocessor import (
            DefaultPreprocessor,
        )
        from nnunetv2.training.dataloading.nnunet_dataset import (
            comp_blosc2_params,
            nnUNetDatasetBlosc2,
        )
    except ImportError:
        return False
    (folder / "nnunet").mkdir()
    for case in stored(folder):
        image, label = case.read_image(), case.read_label()[None].astype(np.int16)
        blocks, chunks = comp_blosc2_params(image.shape, work.patch, image.itemsize)
        blocks_seg, chunks_seg = comp_blosc2_params(
            label.shape, work.patch, label.itemsize
        )
        sample = DefaultPreprocessor._sample_foreground_locations
        places = sample(label, list(range(1, work.classes)))
        nnUNetDatasetBlosc2.save_case(
            image,
            label,
            {"class_locations": places},
            str(folder / "nnunet" / case.case_id),
            chunks=chunks,
            blocks=blocks,
            chunks_seg=chunks_seg,
            blocks_seg=blocks_seg,
        )
    return True


def measure(side: str, folder: Path, work: Workload, seconds: float) -> dict:
    """Patches per second of one side, in this process.

    Counted per second of processor time, so that a machine that others use too gives
    the same ratio; each side has one thread and waits for nothing.
    """
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    next_batch = SIDES[side](folder, work)
    spend(next_batch, seconds / 4)
    patches, used = spend(next_batch, seconds)
    return {"rate": patches / used, "rss_gb": peak_resident_bytes() / 1e9}


def peak_resident_bytes() -> int:
    """Peak resident memory of this process, its mapped files included.

    Not `ru_maxrss`, which starts at what the process that started this one held.
    """
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return 1024 * int(line.split()[1])


def spend(next_batch: NextBatch, seconds: float) -> tuple[int, float]:
    """Patches that came in a time of the processor, and that time."""
    start, patches = time.process_time(), 0
    while (used := time.process_time() - start) < seconds:
        patches += next_batch()
    return patches, used


def run_side(side: str, name: str, folder: Path, seconds: float) -> dict:
    command = [sys.executable, __file__, "--measure", side, "--workload", name]
    command += ["--folder", str(folder), "--seconds", str(seconds)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, env=environment
    )
    return json.loads(done.stdout.splitlines()[-1])


def compare(name: str, arguments: argparse.Namespace) -> list[dict]:
    """All sides on one workload, in rounds."""
    work = WORKLOADS[name]
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as scratch:
        folder = Path(scratch)
        content = MAKERS[name](folder, arguments.data)
        sides = list(SIDES)
        if not make_nnunet(folder, work):
            sides.remove("nnU-Net")
        runs: dict[str, list[dict]] = {side: [] for side in sides}
        for _ in range(arguments.rounds):
            for side in sides:
                runs[side].append(run_side(side, name, folder, arguments.seconds))
    middle = {
        side: {key: statistics.median(run[key] for run in found) for key in found[0]}
        for side, found in runs.items()
    }
    return [row(name, content, work, side, middle) for side in sides[1:]]


def row(
    name: str, content: str, work: Workload, side: str, middle: dict[str, dict]
) -> dict:
    ours, peer = middle["medseg"], middle[side]
    return {
        "name": f"{name}: medseg against {side}",
        "ours": round(ours["rate"], 1),
        "peer": round(peer["rate"], 1),
        "ratio": round(ours["rate"] / peer["rate"], 2),
        "unit": "patches/cpu-s",
        "better": "higher",
        "ours_rss_gb": round(ours["rss_gb"], 2),
        "peer_rss_gb": round(peer["rss_gb"], 2),
        "classes": work.classes,
        "batch": work.batch,
        "data": content,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="rows for a machine")
    parser.add_argument("--seconds", type=float, default=6, help="of each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--data", type=Path, default=ROOT.parent / "shared" / "data" / "hippocampus"
    )
    parser.add_argument("--scratch", type=Path, help="where volumes are written")
    parser.add_argument("--workload", choices=WORKLOADS)
    parser.add_argument("--measure", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        work = WORKLOADS[arguments.workload]
        found = measure(arguments.measure, arguments.folder, work, arguments.seconds)
        print(json.dumps(found))
        return
    names = [arguments.workload] if arguments.workload else list(WORKLOADS)
    rows = [row for name in names for row in compare(name, arguments)]
    if arguments.json:
        print_rows(rows, machine=describe_machine())
        return
    for found in rows:
        print(
            f"{found['name']:80s} {found['ours']:8.1f} {found['peer']:8.1f} "
            f"x{found['ratio']:<6.2f} RSS {found['ours_rss_gb']:.2f} "
            f"{found['peer_rss_gb']:.2f} GB"
        )


if __name__ == "__main__":
    main()
