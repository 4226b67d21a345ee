"""How long a window takes in each engine, against torch as it comes.

    python benchmarks/engines.py                  a table
    python benchmarks/engines.py --json           rows of name, ours, peer, ratio, unit
    python benchmarks/engines.py --device cuda    on a GPU: torch's formats and compile

A 3D U-Net of 5.6 million parameters with instance normalization and three outputs, one
window. Engines run in turn, round by round, so that what else the machine does meets
all of them; a row holds medians, and `ratio` is the median of the rounds' own ratios.
`ours` is the engine and `peer` torch eager in float32 (not folded, memory as it comes),
both in seconds per window; ratios above 1 are faster. `prepare_s` is what an engine
needs before its first window, `largest_difference` that of the logits as a share of
their range, `changed` the share of voxels whose label is another: the weights are
fresh, so that classes are nearly equal everywhere, and a trained network changes less.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from machine import describe_machine, print_rows
from torch import Tensor

from medseg.golden import golden_image
from medseg.inference.engines.available import candidates, make_engine, versions
from medseg.inference.engines.engine import Variant
from medseg.inference.settings import InferenceSettings
from medseg.networks.build import build_network
from medseg.networks.settings import UNetSettings

UNET = UNetSettings(
    channels=(32, 64, 128, 256), strides=(1, 2, 2, 2), deep_supervision=False
)


def engines(device: torch.device, network: torch.nn.Module, window: Tensor) -> dict:
    """Each variant that runs here, with the seconds until its first logits."""
    allowed = list(candidates(InferenceSettings(), device=device))
    if device.type == "cuda":
        allowed += [Variant("torch-compile", "float16")]
    made = {}
    for variant in allowed:
        start = time.perf_counter()
        engine = make_engine(variant, network, device=device)
        engine(window)
        made[variant] = (engine, time.perf_counter() - start)
    return made


def timed(run: Callable[[Tensor], Tensor], window: Tensor) -> float:
    if window.is_cuda:
        torch.cuda.synchronize()
    start = time.perf_counter()
    run(window)
    if window.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start


def measure(device: torch.device, *, size: int, rounds: int) -> list[dict]:
    torch.manual_seed(0)
    network = build_network(UNET, spatial_dims=3, in_channels=1, out_channels=3).eval()
    millions = sum(p.numel() for p in network.parameters()) / 1e6
    window = golden_image([(-1.5, 3.0)], (size,) * 3).to(device)
    made = engines(device, network, window)
    peer = network.to(device)
    eager = torch.inference_mode()(peer)
    expected = eager(window).float()
    spread = float(expected.max() - expected.min())
    times: dict = {None: [], **{variant: [] for variant in made}}
    for _ in range(rounds):
        times[None].append(timed(eager, window))
        for variant, (engine, _) in made.items():
            times[variant].append(timed(engine, window))
    rows = []
    for variant, (engine, prepare) in made.items():
        found = engine(window)
        ratios = [a / b for a, b in zip(times[None], times[variant], strict=True)]
        rows.append(
            {
                "name": f"engine {variant}, unet {millions:.1f} M, {size}³",
                "ours": round(statistics.median(times[variant]), 4),
                "peer": round(statistics.median(times[None]), 4),
                "ratio": round(statistics.median(ratios), 3),
                "unit": "s",
                "rounds": rounds,
                "prepare_s": round(prepare, 2),
                "largest_difference": float((found - expected).abs().max()) / spread,
                "changed": float(
                    (found.argmax(1) != expected.argmax(1)).float().mean()
                ),
                "threads": torch.get_num_threads(),
                "versions": versions(),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="rows instead of a table")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--size", type=int, default=96, help="voxels along each axis")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    rows = measure(
        torch.device(options.device), size=options.size, rounds=options.rounds
    )
    if options.json:
        print_rows(rows, machine=describe_machine(options.device))
        return
    print(describe_machine(options.device))
    for row in rows:
        print(
            f"{row['name']:52s} {row['peer']:8.3f} → {row['ours']:8.3f} s   "
            f"× {row['ratio']:5.2f}   labels changed {row['changed']:.3%}"
        )


if __name__ == "__main__":
    main()
