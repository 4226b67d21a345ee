"""How well `medseg inspect` predicts the memory that a network needs.

    python benchmarks/network_memory.py            a table
    python benchmarks/network_memory.py --json     rows of name, ours, peer, ratio, unit

Each row is a network in a process of its own, at the patch and batch that are planned
for the hippocampus (5 patches of 40 × 56 × 40, one channel, three classes) or, with
`--dims 2`, at 8 slices of 256 × 256. `ours` is the prediction, which computes nothing;
`peer` is the peak of torch's allocator over a real pass, beyond weights, gradients
and batch, all in MB, and `ratio` is ours over peer. `resident` is by how much the
process's resident memory grew meanwhile, which the system's pages, the allocator's
fragments and working memory inside of operations add to.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import torch
from machine import describe_machine, print_rows
from torch.profiler import ProfilerActivity, profile

from medseg.networks.analysis.costs import predict_memory, run_once
from medseg.networks.build import build_network
from medseg.networks.folding import inference_form
from medseg.networks.settings import (
    DeepLabSettings,
    FCNSettings,
    SegResNetSettings,
    SwinUNETRSettings,
    UNetSettings,
)

UNET = {"channels": (32, 64, 128), "strides": (1, 2, 2)}
SETTINGS = {
    "fcn32s": FCNSettings(variant=32),
    "fcn16s": FCNSettings(variant=16),
    "fcn8s": FCNSettings(variant=8),
    "unet": UNetSettings(**UNET),
    "unet, strided stem": UNetSettings(
        channels=(32, 64, 128), strides=(2, 2, 2), refinement="branch"
    ),
    "unet, unpadded": UNetSettings(
        channels=(16, 32, 64),
        strides=(1, 2, 2),
        normalization="batch",
        activation="relu",
        downsampling="maxpool",
        padding="valid",
    ),
    "unet, attention": UNetSettings(attention=True, **UNET),
    "unet, deep supervision": UNetSettings(deep_supervision=True, **UNET),
    "resenc": UNetSettings(
        block="residual", convs_per_stage=(1, 3, 4), decoder_convs=1, **UNET
    ),
    "deeplab": DeepLabSettings(channels=(32, 64, 128), output_stride=4),
    "segresnet": SegResNetSettings(),
    "swinunetr": SwinUNETRSettings(),
}
SHAPES = {2: (8, 1, 256, 256), 3: (5, 1, 40, 56, 40)}


def measure(name: str, *, dims: int, training: bool, precision: str) -> dict:
    """Prediction and measurement, for a process that does nothing else."""
    torch.manual_seed(0)
    network = build_network(
        SETTINGS[name], spatial_dims=dims, in_channels=1, out_channels=3
    )
    predicted = predict_memory(
        network, SHAPES[dims], precision=precision, training=training
    )
    layout = torch.channels_last if dims == 2 else torch.channels_last_3d
    network = network.to(memory_format=layout)
    if not training:
        network = inference_form(network, device=torch.device("cpu"))
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter) if training else None
    x = torch.zeros(SHAPES[dims]).to(memory_format=layout)
    before = reset_resident_peak()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run_once(network.train(training), x, precision=precision, training=training)
    resident = status_kilobytes("VmHWM") * 1024 - before
    allocated = peak_of(profiler)
    return {
        "name": f"memory, {name}, {dims}d, {'training' if training else 'inference'}, "
        f"{precision}",
        "ours": round(predicted / 1e6, 1),
        "peer": round(allocated / 1e6, 1),
        "ratio": round(predicted / allocated, 3),
        "unit": "MB",
        "resident": round(resident / 1e6, 1),
    }


def peak_of(profiler: profile) -> int:
    """Largest number of bytes at once that the allocator reported."""
    events = [
        event
        for event in profiler.profiler.kineto_results.events()
        if event.name() == "[memory]"
    ]
    current = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        current += event.nbytes()
        peak = max(peak, current)
    return peak


def reset_resident_peak() -> int:
    """Forgets the peak so far; the resident bytes now (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")
    return status_kilobytes("VmRSS") * 1024


def status_kilobytes(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1])


def measure_apart(name: str, **choice: object) -> dict:
    """The same in a fresh process."""
    command = [sys.executable, __file__, "--one", json.dumps({"name": name, **choice})]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    row: dict = json.loads(answer.stdout.splitlines()[-1])
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="rows instead of a table")
    parser.add_argument("--dims", type=int, choices=(2, 3), default=3)
    parser.add_argument("--names", nargs="+", default=list(SETTINGS))
    parser.add_argument("--precisions", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(**json.loads(options.one))))
        return
    machine = describe_machine()
    if not options.json:
        print(machine)
    for precision in options.precisions:
        for name in options.names:
            for training in (True, False):
                row = measure_apart(
                    name, dims=options.dims, training=training, precision=precision
                )
                if options.json:
                    print_rows([row], machine=machine)
                    continue
                print(
                    f"{row['name']:58s} {row['ours']:8.1f} predicted "
                    f"{row['peer']:8.1f} measured  × {row['ratio']:.3f}   "
                    f"{row['resident']:8.1f} resident",
                    flush=True,
                )


if __name__ == "__main__":
    main()
