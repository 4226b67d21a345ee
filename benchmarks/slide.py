"""Cells of a slide of any size: how much memory, how fast, and none counted twice.

    python benchmarks/slide.py --model RUN --pictures NUCLEI/images --side 20000
    python benchmarks/slide.py --model RUN --pictures NUCLEI/images --quick

The slide is one field of random pictures, `--field` pixels wide, laid side by side
again and again, and written as a tiled TIFF. As tiles of the computation begin
elsewhere in every copy, a cell that is lost or counted twice at their sides shows: the
inner copies must have the same cells, but for those that the network sees otherwise
because its windows begin elsewhere. Ours is `medseg predict` in a process of its own,
from the TIFF to the label map and the table of cells. The peer is what users of MONAI
write: the picture in memory, sliding_window_inference with the same network, windows
and overlap, and the same watershed over the whole, no table; it is measured at
`--peer-side`, which must fit into memory. Memory is the peak RSS of the process.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe_machine, print_rows

TILE = 512
OVERLAP = 0.5


def main() -> None:
    options = parse_options()
    if options.peer:
        return monai(options.model, options.peer, options.out)
    work = Path(tempfile.mkdtemp(prefix="slide_", dir=options.work))
    field = random_field(options.pictures, options.field, seed=0)
    try:
        for side in sorted({options.side, options.peer_side}):
            slide = work / f"slide_{side}" / "slide.tif"
            write_slide(slide, field, side)
            ours = medseg(options, slide, work / f"medseg_{side}")
            copies = cells_of_copies(Path(ours.pop("table")), len(field), side)
            peer: dict[str, Any] = {}
            if side == options.peer_side:
                peer = measured(peer_command(options.model, slide, work / "peer.json"))
                peer |= json.loads((work / "peer.json").read_text())
            rows = rows_of(side, ours, peer, copies)
            print_rows(rows, machine=describe_machine())
            slide.unlink()
    finally:
        shutil.rmtree(work)


def random_field(pictures: Path, side: int, *, seed: int) -> np.ndarray:
    """Pictures in random order and turns, shape (side, side, 3), uint8."""
    from skimage.color import gray2rgb
    from skimage.io import imread

    random = np.random.default_rng(seed)
    field = np.zeros((side, side, 3), np.uint8)
    paths = sorted(pictures.glob("*.png"))
    known: list[np.ndarray] = []
    for path in random.permutation(len(paths)):
        picture = imread(paths[path])
        picture = gray2rgb(picture) if picture.ndim == 2 else picture[..., :3]
        if picture.shape == (256, 256, 3) and np.median(picture) < 64:  # fluorescence
            known.append(picture)
        if len(known) == 40:
            break
    if not known:
        raise SystemExit(f"{pictures}: no PNG of 256 x 256 pixels with a dark ground")
    for top in range(0, side, 256):
        for left in range(0, side, 256):
            turned = np.rot90(
                known[random.integers(len(known))], int(random.integers(4))
            )
            part = field[top : top + 256, left : left + 256]
            part[...] = turned[: part.shape[0], : part.shape[1]]
    return field


def write_slide(path: Path, field: np.ndarray, side: int) -> None:
    """Writes copies of the field, never more in memory than a row of tiles."""
    import tifffile

    path.parent.mkdir()
    columns = np.arange(-(-side // TILE) * TILE) % len(field)

    def tiles() -> Iterator[np.ndarray]:
        for top in range(0, side, TILE):
            band = field[np.arange(top, top + TILE) % len(field)][:, columns]
            for left in range(0, side, TILE):
                yield np.ascontiguousarray(band[:, left : left + TILE])

    tifffile.imwrite(
        path, tiles(), shape=(side, side, 3), dtype=np.uint8, tile=(TILE, TILE),
        photometric="rgb", bigtiff=side > 30000,
    )  # fmt: skip


def medseg(options: argparse.Namespace, slide: Path, out: Path) -> dict[str, Any]:
    """`medseg predict` of the slide: seconds, peak bytes, and where the table is."""
    command = [sys.executable, "-m", "medseg", "predict", str(options.model)]
    command += [str(slide.parent), "-o", str(out), "--device", "cpu"]
    command += ["--max-ram", options.max_ram, "--overlap", str(OVERLAP), "--no-flips"]
    found = measured(command)
    return found | {"table": str(out / "cells" / "slide.csv")}


def peer_command(model: Path, slide: Path, out: Path) -> list[str]:
    """This file as the peer, in a process of its own."""
    return [sys.executable, __file__, "--model", str(model), "--pictures", ".",
            "--peer", str(slide), "--out", str(out)]  # fmt: skip


def monai(model: Path, slide: Path, out: Path) -> None:
    """The whole picture in memory: windows by MONAI, watershed by scikit-image."""
    import tifffile
    import torch
    from monai.inferers.utils import sliding_window_inference

    from medseg.instances.decoding import decode
    from medseg.instances.object_maps import ObjectMaps
    from medseg.model import load_model
    from medseg.preparation.normalization import Stretch

    loaded = load_model(model)
    network = loaded.network.eval()
    picture = tifffile.imread(slide).transpose(2, 1, 0)
    image = Stretch.measure(picture.reshape(3, -1)).apply(picture)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        logits = sliding_window_inference(
            torch.from_numpy(image)[None],
            tuple(loaded.plan.patch_size),
            sw_batch_size=4,
            predictor=lambda windows: network(windows).float(),
            overlap=OVERLAP,
            mode="gaussian",
        )
    depths = ObjectMaps.of_probabilities(torch.softmax(logits[0], dim=0).numpy())
    assert loaded.decoding is not None
    out.write_text(json.dumps({"cells": int(decode(depths, loaded.decoding).max())}))


def measured(command: list[str]) -> dict[str, Any]:
    """Runs a process: seconds and peak resident bytes."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=sys.stderr)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"failed: {' '.join(command)}")
    scale = 1 if sys.platform == "darwin" else 1024
    return {
        "seconds": time.perf_counter() - began,
        "bytes": usage.ru_maxrss * scale,
    }


def cells_of_copies(table: Path, field: int, side: int) -> dict[str, int]:
    """Cells of the whole slide, and of each inner copy of the field by centroids."""
    import pandas as pd

    cells = pd.read_csv(table)
    whole = side // field
    places = cells[["x_px", "y_px"]].to_numpy() // field
    inner = ((places > 0) & (places < whole - 1)).all(axis=1)
    every = pd.MultiIndex.from_product([range(1, whole - 1)] * 2)
    counts = pd.DataFrame(places[inner]).value_counts().reindex(every, fill_value=0)
    return {
        "cells": len(cells),
        "copies": len(counts),
        "fewest": int(counts.min()),
        "most": int(counts.max()),
    }


def rows_of(
    side: int, ours: dict[str, Any], peer: dict[str, Any], copies: dict[str, int]
) -> list[dict[str, Any]]:
    """Memory and time of one size; ratios are null without a peer."""
    rows = []
    for name, key, unit, scale in (
        ("memory", "bytes", "GB", 1e9),
        ("time", "seconds", "s", 1.0),
    ):
        ratio = round(peer[key] / ours[key], 2) if peer else None
        rows.append(
            {
                "name": f"slide {name} {side}",
                "ours": round(ours[key] / scale, 3),
                "peer": round(peer[key] / scale, 3) if peer else None,
                "ratio": ratio,
                "unit": unit,
                **copies,
                "peer_cells": peer.get("cells"),
            }
        )
    return rows


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", type=Path, required=True, help="run of nuclei")
    parser.add_argument("--pictures", type=Path, required=True, help="PNG of cells")
    parser.add_argument("--side", type=int, default=20000, help="pixels")
    parser.add_argument("--peer-side", type=int, default=6500)
    parser.add_argument("--field", type=int, default=1500, help="pixels of a copy")
    parser.add_argument("--max-ram", default="2g", help="medseg's budget")
    parser.add_argument("--work", type=Path, help="large files go here")
    parser.add_argument("--quick", action="store_true", help="small, in minutes")
    parser.add_argument("--json", action="store_true", help="rows are JSON anyway")
    parser.add_argument("--peer", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.quick:
        options.side = options.peer_side = 4300
        options.field, options.max_ram = 1200, "1g"
    return options


if __name__ == "__main__":
    main()
