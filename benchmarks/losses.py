"""Forward and backward of Dice+focal and Dice+CE: medseg, MONAI, nnU-Net.

    python benchmarks/losses.py --peer-python PEERS/bin/python       a table
    python benchmarks/losses.py --json       rows of name, ours, peer, ratio, unit, ...
    python benchmarks/losses.py --device cuda

Every side runs in a process of its own and gets its turn in each round, so that
whatever else happens on the machine happens to all; medians of the rounds are compared.
Every call allocates its gradient anew, as in training. Extra memory is the growth of
the peak resident size in a fresh process, over the size of the logits. All of it once
with the allocator as it is and once with THP_MEM_ALLOC_ENABLE=1, which makes PyTorch
ask for huge pages, on every side.

nnU-Net is not needed by medseg; `--peer-python` names an interpreter that has it:

    python -m venv PEERS && PEERS/bin/pip install torch==2.13.0 monai nnunetv2

Sides: `medseg`, `monai`, `nnunet`, and with `--before FOLDER` an older checkout of
medseg, so that a change is measured in the same turns. Losses: `dice_ce`; `dice_focal`
(softmax focal) and `dice_focal_sigmoid` (MONAI's definition to the letter), both
against `monai.losses.DiceFocalLoss`. Rows named `floor` compare with moving the bytes
once:
reading the logits twice and writing the gradient once at the speed of a copy.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from machine import describe_machine, print_rows

SHAPE = (96, 96, 96)
SAMPLES = 2
LOSSES = {
    "dice_ce": ("monai", "nnunet"),
    "dice_focal": ("monai",),
    "dice_focal_sigmoid": ("monai",),
}
Step = Callable[[], None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--peer-python", default=os.environ.get("PEER_PYTHON"))
    parser.add_argument("--before", help="folder of an older checkout of medseg")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--classes", type=int, nargs="+", default=[14, 3])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", action="store_true", help="one object per row")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work()
        return
    rows, notes = [], []
    for huge_pages in (False, True) if options.device == "cpu" else (False,):
        for classes in options.classes:
            rows += measure(options, classes, huge_pages=huge_pages, notes=notes)
    about = f"{describe_machine(options.device)}; {conditions()}"
    for note in notes:
        print(note, file=sys.stderr)
    if options.json:
        print_rows(rows, machine=about)
    else:
        print(about, table(rows), sep="\n\n")


def measure(
    options: argparse.Namespace, classes: int, *, huge_pages: bool, notes: list[str]
) -> list[dict[str, Any]]:
    """Rows for one number of classes and one kind of pages."""
    sides = {"medseg": sys.executable, "monai": sys.executable}
    sides["nnunet"] = options.peer_python
    if options.before:
        sides["medseg_before"] = sys.executable
    workers: dict[str, Worker] = {}
    for side, python in sides.items():
        if python is None:
            _note(notes, f"{side} left out: no --peer-python given")
            continue
        workers[side] = Worker(
            python, huge_pages=huge_pages, package=_package(side, options)
        )
        answer = workers[side].ask(
            "prepare", side=side, classes=classes, device=options.device
        )
        if "error" in answer:
            _note(notes, f"{side} left out: {answer['error']}")
            workers.pop(side).close()
    rows = []
    for loss, peers in LOSSES.items():
        taking_part = [s for s in workers if s.startswith("medseg") or s in peers]
        seconds = {side: [] for side in taking_part}
        copies = []
        for _ in range(options.rounds):
            for side in taking_part:
                seconds[side].append(workers[side].ask("step", loss=loss)["seconds"])
            copies.append(workers["medseg"].ask("copy")["seconds"])
        medians = {side: statistics.median(times) for side, times in seconds.items()}
        memory = {
            side: fresh_memory(
                sides[side], side, loss, classes, options, huge_pages=huge_pages
            )
            for side in taking_part
        }
        floor = 1.5 * statistics.median(copies)
        rows += as_rows(loss, classes, medians, memory, floor, huge_pages=huge_pages)
    for worker in workers.values():
        worker.close()
    return rows


def as_rows(
    loss: str,
    classes: int,
    medians: dict[str, float],
    memory: dict[str, float],
    floor: float,
    *,
    huge_pages: bool,
) -> list[dict[str, Any]]:
    """Rows of name, ours, peer, ratio, unit; above 1 ours is better."""
    best = min((s for s in medians if not s.startswith("medseg")), key=medians.get)
    common = {"classes": classes, "huge_pages": huge_pages, "best_peer": best}
    rows = []
    for side in ("medseg", "medseg_before"):
        if side not in medians:
            continue
        name = loss if side == "medseg" else f"{loss}, before"
        pairs = [
            (name, medians[side], medians[best], "s", medians[best] / medians[side]),
            (
                f"{name}, extra memory",
                memory[side],
                memory[best],
                "x logits",
                memory[best] / memory[side],
            ),
            (f"{name}, floor", medians[side], floor, "s", floor / medians[side]),
        ]
        rows += [
            {
                "name": name,
                "ours": round(ours, 4),
                "peer": round(peer, 4),
                "ratio": round(ratio, 2),
                "unit": unit,
                **common,
                **({"all": _rounded(medians)} if unit == "s" else {}),
            }
            for name, ours, peer, unit, ratio in pairs
        ]
    return rows


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {key: round(value, 4) for key, value in values.items()}


def _note(notes: list[str], text: str) -> None:
    if text not in notes:
        notes.append(text)


def fresh_memory(
    python: str,
    side: str,
    loss: str,
    classes: int,
    options: argparse.Namespace,
    *,
    huge_pages: bool,
) -> float:
    """Extra memory of one step in a new process, over the size of the logits."""
    worker = Worker(python, huge_pages=huge_pages, package=_package(side, options))
    worker.ask("prepare", side=side, classes=classes, device=options.device)
    extra: float = worker.ask("memory", loss=loss)["extra"]
    worker.close()
    return extra


def _package(side: str, options: argparse.Namespace) -> str:
    """Where a side finds medseg."""
    if side == "medseg_before":
        return str(options.before)
    return str(Path(__file__).resolve().parents[1])


class Worker:
    """A process that holds one side and takes steps when asked."""

    def __init__(self, python: str, *, huge_pages: bool, package: str) -> None:
        environment = {**os.environ, "nnUNet_results": "", "PYTHONWARNINGS": "ignore"}
        environment["PYTHONPATH"] = package
        environment.pop("THP_MEM_ALLOC_ENABLE", None)
        if huge_pages:
            environment["THP_MEM_ALLOC_ENABLE"] = "1"
        self.process = subprocess.Popen(
            [python, __file__, "--worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )

    def ask(self, what: str, **details: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"what": what, **details}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            return {"error": "the process ended"}
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def work() -> None:
    """Answers the requests on standard input."""
    answers, sys.stdout = sys.stdout, sys.stderr
    side = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request["what"] == "prepare":
                side = Side(request["side"], request["classes"], request["device"])
                answer = {"ready": True}
            elif side is None:
                answer = {"error": "not prepared"}
            elif request["what"] == "step":
                answer = {"seconds": side.timed(side.step(request["loss"]))}
            elif request["what"] == "copy":
                answer = {"seconds": side.timed(side.copy)}
            else:
                answer = {"extra": side.extra_memory(side.step(request["loss"]))}
        except ImportError as error:
            answer = {"error": str(error)}
        print(json.dumps(answer), file=answers, flush=True)


class Side:
    """One library with its data."""

    def __init__(self, name: str, classes: int, device: str) -> None:
        import torch

        self.name, self.classes, self.device = name, classes, device
        generator = torch.Generator().manual_seed(0)
        shape = (SAMPLES, classes, *SHAPE)
        self.logits = torch.randn(shape, generator=generator).to(device)
        self.logits.requires_grad_()
        labels = torch.randint(0, classes, (SAMPLES, 1, *SHAPE), generator=generator)
        self.labels = labels.to(device)
        self.bytes = self.labels[:, 0].to(torch.uint8)
        self.destination = None
        self.steps = {loss: self._build(loss) for loss in self._losses()}

    def _losses(self) -> list[str]:
        return [
            loss
            for loss, peers in LOSSES.items()
            if self.name.startswith("medseg") or self.name in peers
        ]

    def _build(self, loss: str) -> Callable[[Any], Any]:
        if self.name == "nnunet":
            return self._nnunet()
        return (
            self._medseg(loss) if self.name.startswith("medseg") else self._monai(loss)
        )

    def _medseg(self, loss: str) -> Callable[[Any], Any]:
        from medseg.losses import build_loss
        from medseg.losses.settings import DiceCESettings, DiceFocalSettings

        settings = {
            "dice_ce": DiceCESettings(include_background=True),
            "dice_focal": DiceFocalSettings(include_background=True),
            "dice_focal_sigmoid": DiceFocalSettings(
                include_background=True, activation="sigmoid"
            ),
        }
        built = build_loss(settings[loss], num_classes=self.classes).to(self.device)
        return lambda logits: built(logits, self.bytes)

    def _monai(self, loss: str) -> Callable[[Any], Any]:
        from monai.losses import DiceCELoss, DiceFocalLoss

        kind = DiceCELoss if loss == "dice_ce" else DiceFocalLoss
        built = kind(softmax=True, to_onehot_y=True)
        return lambda logits: built(logits, self.labels)

    def _nnunet(self) -> Callable[[Any], Any]:
        from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
        from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss

        dice = {"batch_dice": False, "smooth": 1e-5, "do_bg": True, "ddp": False}
        built = DC_and_CE_loss(dice, {}, dice_class=MemoryEfficientSoftDiceLoss)
        return lambda logits: built(logits, self.labels)

    def step(self, loss: str) -> Step:
        def run() -> None:
            self.logits.grad = None
            self.steps[loss](self.logits).backward()

        return run

    def copy(self) -> None:
        import torch

        if self.destination is None:
            self.destination = torch.zeros_like(self.logits)
        with torch.no_grad():
            self.destination.copy_(self.logits)

    def timed(self, step: Step) -> float:
        self.wait()
        start = time.perf_counter()
        step()
        self.wait()
        return time.perf_counter() - start

    def wait(self) -> None:
        import torch

        if self.device.startswith("cuda"):
            torch.cuda.synchronize()

    def extra_memory(self, step: Step) -> float:
        import torch

        size = self.logits.numel() * self.logits.element_size()
        if self.device.startswith("cuda"):
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            step()
            return (torch.cuda.max_memory_allocated() - before) / size
        self.warm_up()
        Path("/proc/self/clear_refs").write_text("5")
        before = resident("VmRSS")
        step()
        return (resident("VmHWM") - before) / size

    def warm_up(self) -> None:
        """Loads code and starts threads with little data, so only data is counted."""
        logits, labels, small = self.logits, self.labels, self.bytes
        self.logits = logits.detach()[..., :24, :24, :24].clone().requires_grad_()
        self.labels, self.bytes = labels[..., :24, :24, :24], small[..., :24, :24, :24]
        for loss in self.steps:
            self.step(loss)()
        self.logits, self.labels, self.bytes = logits, labels, small


def resident(field: str) -> int:
    """Bytes of resident memory of this process, now or at its peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    line = next(line for line in lines if line.startswith(field))
    return 1024 * int(line.split()[1])


def conditions() -> str:
    """What else the numbers depend on."""
    import monai

    return (
        f"MONAI {monai.__version__}; logits "
        f"({SAMPLES}, classes, {', '.join(map(str, SHAPE))}) float32"
    )


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    lines = ["| name | classes | huge pages | ours | peer | ratio | unit | peer is |"]
    lines += ["|---|---|---|---|---|---|---|---|"]
    for row in rows:
        floor = row["name"].endswith("floor")
        pages = "yes" if row["huge_pages"] else "no"
        lines.append(
            f"| {row['name']} | {row['classes']} | {pages}"
            f" | {row['ours']} | {row['peer']}"
            f" | {row['ratio']} | {row['unit']}"
            f" | {'a copy' if floor else row['best_peer']} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
