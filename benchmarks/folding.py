"""How much faster networks with batch normalization predict once they are folded.

    python benchmarks/folding.py            a table
    python benchmarks/folding.py --json     rows of name, ours, peer, ratio, unit

Both forms of the same network run on the same patch, channels last, in turn, each
first in every other round; a row holds the median of the paired times. `ours` is the
folded form and `peer` the network as trained, both in ms per patch; `ratio` is peer
over ours, so above 1 is faster.
"""

import argparse
import statistics
import time

import torch
from machine import describe_machine, print_rows

from medseg.networks.build import build_network
from medseg.networks.folding import fold
from medseg.networks.settings import DeepLabSettings, FCNSettings, UNetSettings

SETTINGS = {
    "unet 3d": UNetSettings(
        channels=(32, 64, 128), strides=(1, 2, 2), normalization="batch"
    ),
    "unet 3d, strided stem": UNetSettings(
        channels=(32, 64, 128), strides=(2, 2, 2), normalization="batch"
    ),
    "fcn-8s 3d": FCNSettings(),
    "deeplabv3+ 3d": DeepLabSettings(),
}


def measure(name: str, *, patch: int, rounds: int, precision: str) -> dict:
    torch.manual_seed(0)
    network = build_network(
        SETTINGS[name], spatial_dims=3, in_channels=1, out_channels=3
    )
    network = network.eval().to(memory_format=torch.channels_last_3d)
    folded = fold(network)
    x = torch.randn(1, 1, patch, patch, patch)
    x = x.to(memory_format=torch.channels_last_3d)
    times: dict[str, list[float]] = {"plain": [], "folded": []}
    cast = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16")
    with torch.inference_mode(), cast:
        difference = (network(x).float() - folded(x).float()).abs().max()
        for turn in range(rounds):
            pair = [("plain", network), ("folded", folded)]
            for kind, form in pair if turn % 2 else reversed(pair):
                start = time.perf_counter()
                form(x)
                times[kind].append((time.perf_counter() - start) * 1e3)
    ratios = [a / b for a, b in zip(times["plain"], times["folded"], strict=True)]
    return {
        "name": f"folding, {name}, {patch}³, {precision}",
        "ours": round(statistics.median(times["folded"]), 2),
        "peer": round(statistics.median(times["plain"]), 2),
        "ratio": round(statistics.median(ratios), 3),
        "unit": "ms",
        "largest_difference": float(difference),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="rows instead of a table")
    parser.add_argument("--patch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    machine = describe_machine()
    if not options.json:
        print(machine)
    for precision in ("float32", "bfloat16"):
        for name in SETTINGS:
            row = measure(
                name, patch=options.patch, rounds=options.rounds, precision=precision
            )
            if options.json:
                print_rows([row], machine=machine)
                continue
            print(
                f"{row['name']:55s} {row['peer']:8.1f} → {row['ours']:8.1f} ms   "
                f"× {row['ratio']:.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
