"""Imported MONAI bundles against ``monai.bundle run``, file to file.

    python peer_bundles.py WORK --data FOLDER
    python bundles.py WORK --peer-python PYTHON > results/bundles.jsonl

PYTHON has monai, pytorch-ignite, fire and nibabel. Each bundle's test scans are
segmented by MONAI's own command and by ``medseg predict`` on the very same folder; one
row per scan: smallest Dice of a structure, voxels that differ, voxels of foreground.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe_machine, print_rows


def label_map(path: Path) -> np.ndarray:
    """The array of a NIfTI file, or of a picture in (x, y)."""
    if path.suffix == ".png":
        from PIL import Image

        return np.asarray(Image.open(path)).T
    import nibabel

    return np.asarray(nibabel.load(path).dataobj)


def structures(
    found: np.ndarray, peer: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Each structure's mask in ours and in MONAI's, which may have channels."""
    peer = peer.reshape((*peer.shape[: found.ndim], -1)) if peer.ndim > 3 else peer
    if peer.ndim > found.ndim and np.array_equal(peer.sum(-1), np.ones(found.shape)):
        return [(found == n, peer[..., n] > 0) for n in range(1, peer.shape[-1])]
    if peer.ndim > found.ndim:  # overlapping masks: ours are sums of powers of two
        return [((found >> n) & 1 > 0, peer[..., n] > 0) for n in range(peer.shape[-1])]
    if peer.max() == 255:
        peer = peer // 255
    values = np.union1d(np.unique(found), np.unique(peer))
    return [(found == value, peer == value) for value in values if value]


def difference(found: np.ndarray, peer: np.ndarray) -> dict[str, Any]:
    pairs = structures(found.astype(int), peer)
    differing, foreground = np.zeros(found.shape, bool), np.zeros(found.shape, bool)
    dice = []
    for ours, theirs in pairs:
        differing |= ours != theirs
        foreground |= ours | theirs
        total = int(ours.sum() + theirs.sum())
        dice.append(2 * int((ours & theirs).sum()) / total if total else 1.0)
    return {
        "structures": len(pairs),
        "smallest_dice": min(dice, default=1.0),
        "differing_voxels": int(differing.sum()),
        "foreground_voxels": int(foreground.sum()),
    }


def run(command: list[str], log: Path) -> float:
    """Seconds of a command.

    Raises:
        RuntimeError: It failed.
    """
    started = time.perf_counter()
    with log.open("w") as stream:
        code = subprocess.run(
            command,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=stream,
            stderr=stream,
            check=False,
        ).returncode
    if code:
        raise RuntimeError(f"{log}: exit code {code}")
    return round(time.perf_counter() - started, 1)


def rows_of(folder: Path, peer_python: str) -> list[dict[str, Any]]:
    bundle, scans = folder / "bundle", folder / "scans" / "test"
    ours, peer = folder / "ours", folder / "peer"
    for place in (ours, peer):
        shutil.rmtree(place, ignore_errors=True)
    configs = bundle / "configs"
    theirs = run(
        [
            *(peer_python, "-m", "monai.bundle", "run", "--bundle_root", str(bundle)),
            *("--config_file", str(configs / "inference.json")),
            *("--meta_file", str(configs / "metadata.json")),
            *("--dataset_dir", str(scans), "--output_dir", str(peer)),
        ],
        folder / "peer.log",
    )
    seconds = run(
        [
            *(sys.executable, "-m", "medseg", "predict", str(bundle), str(scans)),
            *("-o", str(ours), "--device", "cpu", "--no-page"),
        ],
        folder / "ours.log",
    )
    rows = []
    for file in sorted(peer.rglob("*.*")):
        stem = file.name.partition(".")[0].removesuffix("_flair")
        (mine,) = [p for p in ours.iterdir() if p.name.partition(".")[0] == stem]
        rows.append(
            {
                "bundle": folder.name,
                "scan": stem,
                **difference(label_map(mine), label_map(file)),
                "seconds": seconds,
                "monai_seconds": theirs,
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--peer-python", required=True)
    parser.add_argument("--only", nargs="*")
    arguments = parser.parse_args()
    for folder in sorted(
        p for p in arguments.work.iterdir() if (p / "bundle").is_dir()
    ):
        if arguments.only and folder.name not in arguments.only:
            continue
        try:
            rows = rows_of(folder, arguments.peer_python)
        except (RuntimeError, ValueError) as error:
            print(json.dumps({"bundle": folder.name, "failed": str(error)}))
            continue
        print_rows(rows, machine=describe_machine())


if __name__ == "__main__":
    main()
