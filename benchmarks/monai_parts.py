"""medseg.monai's parts beside MONAI's: time and memory, the same script on both sides.

    python benchmarks/monai_parts.py           a table
    python benchmarks/monai_parts.py --json    rows of name, ours, peer, ratio, unit
    python benchmarks/monai_parts.py --device cuda

Losses: forward and backward of one step, with the arguments that a MONAI script gives
them; both sides take turns in one process, medians are compared. On a CPU it is the
processor's time on one thread, so that other work on the machine does not count.

Sliding windows: a predictor that costs next to nothing (the image repeated for every
class), so that what is measured is the laying and blending of windows. Each side runs
in a process of its own; extra memory is the growth of its peak resident size, in sizes
of the volume of logits. `labels` compares `SlidingWindowInferer.labels` with
MONAI's window followed by `argmax(1)`.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from machine import describe_machine, print_rows

EXCLUSIVE = {"softmax": True, "to_onehot_y": True}
LOSSES: list[tuple[str, dict[str, Any], str]] = [
    ("DiceLoss", EXCLUSIVE, "labels"),
    ("DiceCELoss", EXCLUSIVE, "labels"),
    ("DiceFocalLoss", EXCLUSIVE, "labels"),
    ("FocalLoss", {"to_onehot_y": True}, "labels"),
    ("FocalLoss", {"to_onehot_y": True, "use_softmax": True}, "labels"),
    ("TverskyLoss", EXCLUSIVE, "labels"),
    ("GeneralizedDiceLoss", EXCLUSIVE, "labels"),
    ("DiceLoss", {"sigmoid": True}, "masks"),
    ("DiceCELoss", {"softmax": True}, "one-hot"),
    ("DiceFocalLoss", {"sigmoid": True}, "masks"),
]
WINDOW, OVERLAP = 64, 0.5
SCAN = (128, 128, 256)
CLASSES = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="one object per row")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, default=96, help="voxels along each axis")
    parser.add_argument("--classes", type=int, nargs="+", default=[3, 14])
    parser.add_argument("--only", choices=["losses", "windows"])
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        side, what, mode = options.worker.split()
        print(json.dumps(one_window_run(side, what, mode, options.device)))
        return
    rows: list[dict[str, Any]] = []
    if options.only != "windows":
        for classes in options.classes:
            rows += [measure_loss(*loss, classes, options) for loss in LOSSES]
    if options.only != "losses":
        rows += measure_windows(options)
    about = describe_machine(options.device)
    if options.json:
        print_rows(rows, machine=about)
        return
    print(about, "\n", sep="\n")
    for row in rows:
        print("{name}: {ours} {unit}, MONAI {peer}, ratio {ratio}".format(**row))


def measure_loss(
    name: str,
    arguments: dict[str, Any],
    kind: str,
    classes: int,
    options: argparse.Namespace,
) -> dict[str, Any]:
    """Seconds of one step."""
    import monai.losses
    import torch

    import medseg.monai

    if options.device == "cpu":
        torch.set_num_threads(1)
    logits, target = example(kind, classes, options.size, options.device)
    built = [
        getattr(module, name)(**arguments) for module in (medseg.monai, monai.losses)
    ]
    clock = clock_of(options.device)
    seconds: list[list[float]] = [[], []]
    for number in range(options.rounds + 1):
        for side, loss in enumerate(built):
            logits.grad = None
            start = clock()
            loss(logits, target).backward()
            if number:  # the first one warms up
                seconds[side].append(clock() - start)
    ours, peer = map(statistics.median, seconds)
    text = ", ".join(f"{key}={value}" for key, value in arguments.items())
    unit = "s of the processor" if options.device == "cpu" else "s"
    shape = f"2 x {classes} x {options.size}^3"
    return as_row(f"{name}({text}), {kind}, {shape}", ours, peer, unit)


def example(kind: str, classes: int, size: int, device: str) -> tuple[Any, Any]:
    """Logits and a target, as MONAI's transforms give them: float32."""
    import torch

    generator = torch.Generator().manual_seed(0)
    shape = (2, classes, size, size, size)
    logits = torch.randn(shape, generator=generator).to(device).requires_grad_()
    labels = torch.randint(0, classes, (2, 1, *shape[2:]), generator=generator)
    target = labels.float()
    if kind == "masks":
        target = (torch.rand(shape, generator=generator) > 0.7).float()
    if kind == "one-hot":
        target = torch.zeros(shape).scatter_(1, labels, 1)
    return logits, target.to(device)


def clock_of(device: str) -> Callable[[], float]:
    """Processor's time, or that of the wall once the GPU is done."""
    if device == "cpu":
        return time.process_time

    def wait() -> float:
        import torch

        torch.cuda.synchronize()
        return time.perf_counter()

    return wait


def measure_windows(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Time and memory of sliding windows, each side in a process of its own."""
    rows = []
    for what in ("logits", "labels"):
        for mode in ("constant", "gaussian"):
            ours, peer = (
                run_alone(f"{side} {what} {mode}", options)
                for side in ("medseg", "monai")
            )
            name = f"sliding window, {what}, {mode}"
            rows.append(as_row(name, ours["seconds"], peer["seconds"], "s"))
            rows.append(
                as_row(
                    f"{name}, extra memory", ours["extra"], peer["extra"], "x logits"
                )
            )
    return rows


def run_alone(what: str, options: argparse.Namespace) -> dict[str, float]:
    command = [sys.executable, __file__, "--worker", what, "--device", options.device]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return answer


def one_window_run(side: str, what: str, mode: str, device: str) -> dict[str, float]:
    """Seconds and extra memory of one run over a scan, after one over a small one."""
    import torch

    if device == "cpu":
        torch.set_num_threads(1)
    clock = clock_of(device)
    run = window_run(side, what, mode)
    with torch.inference_mode():
        run(torch.rand(1, 1, 70, 70, 70, device=device))
        image = torch.rand(1, 1, *SCAN, device=device)
        size = image.numel() * CLASSES * image.element_size()
        before = reset_peak(device)
        start = clock()
        run(image)
        seconds = clock() - start
    return {"seconds": seconds, "extra": (peak(device) - before) / size}


def window_run(side: str, what: str, mode: str) -> Callable[[Any], Any]:
    import monai.inferers

    import medseg.monai

    def predict(windows: Any) -> Any:
        return windows.expand(-1, CLASSES, -1, -1, -1).contiguous()

    module = medseg.monai if side == "medseg" else monai.inferers
    inferer = module.SlidingWindowInferer(WINDOW, 1, OVERLAP, mode)
    if what == "logits":
        return lambda image: inferer(image, predict)
    if side == "medseg":
        return lambda image: inferer.labels(image, predict)
    return lambda image: inferer(image, predict).argmax(1, keepdim=True)


def reset_peak(device: str) -> int:
    import torch

    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    Path("/proc/self/clear_refs").write_text("5")
    return resident("VmRSS")


def peak(device: str) -> int:
    import torch

    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated()
    return resident("VmHWM")


def resident(field: str) -> int:
    """Bytes of resident memory of this process, now or at its peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    line = next(line for line in lines if line.startswith(field))
    return 1024 * int(line.split()[1])


def as_row(name: str, ours: float, peer: float, unit: str) -> dict[str, Any]:
    """Name, ours, peer, ratio, unit; above 1 ours is better."""
    return {
        "name": name,
        "ours": round(ours, 4),
        "peer": round(peer, 4),
        "ratio": round(peer / ours, 2),
        "unit": unit,
    }


if __name__ == "__main__":
    main()
