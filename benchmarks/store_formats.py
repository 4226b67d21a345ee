"""How the prepared store should keep voxels: patches per second and size of each way.

    python benchmarks/store_formats.py            a table
    python benchmarks/store_formats.py --json     rows of name, ours, peer, ratio, ...

Patches of 128 x 128 x 128 are read as float32 from a volume of 320 x 320 x 200 voxels
(smooth noise with grain, of mean 0 and deviation 1, as prepared scans are), in one
process with one thread and warm files; PyTorch widens float16, as in training. `ours`
is what `medseg prepare` writes by default: a plain float16 array in C order,
memory-mapped. Each way takes its turn in every round; medians of processor time, so
that a busy machine gives the same ratios.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from machine import describe_machine, print_rows
from scipy import ndimage

SHAPE = (320, 320, 200)
PATCH = 128
OURS = "plain float16"
Read = Callable[[tuple[slice, ...]], None]


def make_volume() -> np.ndarray:
    """Smooth noise with grain, float32, mean 0 and deviation 1."""
    rng = np.random.default_rng(0)
    coarse = rng.normal(size=tuple(n // 8 + 2 for n in SHAPE)).astype(np.float32)
    smooth = ndimage.zoom(coarse, 8, order=1)[tuple(slice(n) for n in SHAPE)]
    volume = smooth + rng.normal(0, 0.1, SHAPE).astype(np.float32)
    return (volume - volume.mean()) / volume.std()


def plain(folder: Path, name: str, array: np.ndarray) -> tuple[Read, Path]:
    """A memory-mapped array as it is."""
    path = folder / f"{name}.npy"
    np.save(path, array)
    mapped = torch.from_numpy(np.load(path, mmap_mode="c"))
    out = torch.empty((PATCH,) * 3)

    def read(box: tuple[slice, ...]) -> None:
        out.copy_(mapped[box])

    return read, path


def compressed(folder: Path, name: str, array: np.ndarray) -> tuple[Read, Path]:
    """Blosc2 chunks of 64³, LZ4 with bit shuffling."""
    import blosc2

    blosc2.set_nthreads(1)
    path = folder / f"{name}.b2nd"
    blosc2.asarray(
        array,
        urlpath=str(path),
        chunks=(64, 64, 64),
        blocks=(32, 32, 32),
        cparams={
            "codec": blosc2.Codec.LZ4,
            "clevel": 1,
            "filters": [blosc2.Filter.BITSHUFFLE],
            "filters_meta": [0],
            "nthreads": 1,
        },
    )
    mapped = blosc2.open(str(path), mode="r", dparams={"nthreads": 1})
    out = torch.empty((PATCH,) * 3)

    def read(box: tuple[slice, ...]) -> None:
        out.copy_(torch.from_numpy(mapped[box]))

    return read, path


def ways(folder: Path) -> dict[str, tuple[Read, Path]]:
    """Every way of keeping the same volume."""
    volume = make_volume()
    half = volume.astype(np.float16)
    return {
        OURS: plain(folder, "half", half),
        "plain float32": plain(folder, "single", volume),
        "plain float16, Fortran order": plain(folder, "f", np.asfortranarray(half)),
        "LZ4 chunks, float16": compressed(folder, "half", half),
        "LZ4 chunks, float32": compressed(folder, "single", volume),
    }


def rate(read: Read, rng: np.random.Generator, *, seconds: float) -> float:
    """Patches per second of processor time, from places drawn anew."""
    start, count = time.process_time(), 0
    while (used := time.process_time() - start) < seconds:
        corner = [int(rng.integers(0, n - PATCH + 1)) for n in SHAPE]
        read(tuple(slice(first, first + PATCH) for first in corner))
        count += 1
    return count / used


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="one object per row")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each turn")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        found = ways(Path(scratch))
        rates: dict[str, list[float]] = {name: [] for name in found}
        for number in range(options.rounds):
            for name, (read, _) in found.items():
                rng = np.random.default_rng(number)
                rates[name].append(rate(read, rng, seconds=options.seconds))
        sizes = {name: path.stat().st_size / 1e6 for name, (_, path) in found.items()}
    middle = {name: statistics.median(values) for name, values in rates.items()}
    rows = [
        {
            "name": f"{OURS} against {name}",
            "ours": round(middle[OURS], 1),
            "peer": round(middle[name], 1),
            "ratio": round(middle[OURS] / middle[name], 2),
            "unit": "patches/cpu-s",
            "ours_mb": round(sizes[OURS], 1),
            "peer_mb": round(sizes[name], 1),
        }
        for name in found
        if name != OURS
    ]
    if options.json:
        print_rows(rows, machine=describe_machine())
        return
    print(describe_machine())
    for row in rows:
        print("{name:50} {ours:8} {peer:8} x{ratio:<6} {peer_mb} MB".format(**row))


if __name__ == "__main__":
    main()
