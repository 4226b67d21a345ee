"""Samples per second of training: medseg, nnU-Net v2's trainer, MONAI.

    python benchmarks/training.py --data Task04_Hippocampus --out FOLDER \
        --peer-python ENV/bin/python [--threads 1] [--device cuda] [--json]

What is compared: whole training steps with their batches, as a run does them. The same
network for all (nnU-Net's own for this data set, a copy each), its patch and batch,
Dice and cross-entropy with deep supervision; each contender's own way of reading,
augmenting, stepping: nnU-Net's loader, batchgenerators and `train_step`; MONAI's
CacheDataset, RandCropByPosNegLabeld and the augmentation of its dynunet_pipeline
tutorial; medseg's store, sampler, augmentation and step with averaged weights.

The contenders take turns; medians over rounds. float32 is compared with float32 on a
CPU. A row of its own shows medseg in bfloat16, which it takes by itself where it
measures it to be faster; neither peer does so on a CPU. On a GPU all use the short
formats that they use by themselves, and the device's utilisation is sampled.

Conversion, planning and caching are not counted. nnU-Net is loaded from the packages of
`--peer-python`, which must be of our Python version, beside our own packages; FOLDER
may be the one of `time_to_dice.py`.
"""

import argparse
import copy
import os
import statistics
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from machine import describe_machine, print_rows
from peer_monai import RECIPES, forever, make_loader
from peer_nnunet import make_trainer
from time_to_dice import CONFIG, HERE, prepare_nnunet, prepare_ours
from torch import nn

from medseg.plan import Plan
from medseg.progress import Silent
from medseg.runs.config import read_config
from medseg.runs.resolve import settle_training
from medseg.sampling import PatchSampler
from medseg.store import Store
from medseg.training.batches import BatchSource
from medseg.training.compilation import compile_if_faster
from medseg.training.resident import ResidentCases, choose_cache
from medseg.training.settings import TrainingSettings
from medseg.training.state import AveragedWeights, TrainingState, build_optimizer
from medseg.training.step import segmentation_loss, training_step

Fetch = Callable[[], Any]
Step = Callable[[Any], Any]


@dataclass
class Contender:
    """Fetches a batch, makes a step; the time of each is noted."""

    name: str
    fetch: Fetch
    step: Step
    batch_size: int
    rates: list[float] = field(default_factory=list)
    data_shares: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)

    def run(self, steps: int, device: str, clock: Callable[[], float]) -> None:
        """One round."""
        waiting = 0.0
        with sampled_utilisation(device) as samples:
            start = now(device, clock)
            for _ in range(steps):
                before = clock()
                batch = self.fetch()
                waiting += clock() - before
                self.step(batch)
            taken = now(device, clock) - start
        self.rates.append(steps * self.batch_size / taken)
        self.data_shares.append(waiting / taken)
        self.busy += samples


def now(device: str, clock: Callable[[], float]) -> float:
    """The time, once a GPU has done what it was asked for."""
    if device != "cpu":
        torch.cuda.synchronize()
    return clock()


@contextmanager
def sampled_utilisation(device: str) -> Iterator[list[float]]:
    """Percent of the time that the GPU is busy, five times a second."""
    samples: list[float] = []
    if device == "cpu":
        yield samples
        return
    stop = threading.Event()
    command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader"]

    def look() -> None:
        while not stop.wait(0.2):
            answer = subprocess.run(
                [*command, "-i", "0"], capture_output=True, text=True, check=False
            )
            if answer.returncode == 0:
                samples.append(float(answer.stdout.split()[0]))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        stop.set()
        thread.join()


def ours(
    store: Store,
    network: nn.Module,
    *,
    patch: tuple[int, ...],
    batch: int,
    device: torch.device,
    precision: str,
) -> Contender:
    """medseg's loop around a given network."""
    plan = Plan.model_validate(
        {**store.plan.model_dump(), "patch_size": patch, "batch_size": batch}
    )
    settings = settle_training(read_config(CONFIG, []).training, plan)
    if device.type == "cpu":  # as `fresh_state` has it
        network = network.to(memory_format=torch.channels_last_3d)
    network = network.to(device)
    state = TrainingState(
        network=network.train(),
        averaged=AveragedWeights(network, decay=settings.ema_decay),
        optimizer=build_optimizer(network, settings.optimizer),
        scaler=torch.amp.GradScaler(device.type, enabled=False),
        precision=precision,
    )
    batches = our_batches(store, plan, settings, device)
    loss = segmentation_loss(plan, settings).to(device)
    if device.type == "cuda":  # as a run does whose budget is no shorter than 5 minutes
        state.runner = compile_if_faster(state, batches.peek(), loss, progress=Silent())

    def step(taken: Any) -> Any:
        return training_step(
            state,
            taken,
            loss,
            learning_rate=1e-3,
            gradient_clip=settings.gradient_clip,
        )

    return Contender(f"medseg {precision}", batches.next, step, batch)


def our_batches(
    store: Store, plan: Plan, settings: TrainingSettings, device: torch.device
) -> BatchSource:
    cases = [store.case(case_id) for case_id in store.split(0)[0]]
    sampler = PatchSampler(
        cases, patch_size=plan.patch_size, settings=settings.sampling, seed=0
    )
    assert settings.augmentation is not None
    resident = None
    if choose_cache(settings.sampling.cache, cases, device)[0] == "gpu":
        resident = ResidentCases(cases, device=device, spatial_dims=3)
    source = BatchSource(
        cases,
        sampler,
        plan=plan,
        augmentation=settings.augmentation,
        seed=0,
        device=device,
        resident=resident,
    )
    return source.__enter__()


def nnunet(trainer: Any, network: nn.Module) -> Contender:
    """nnU-Net's loop around a copy of its network."""
    trainer.network = network.to(trainer.device).train()
    trainer.optimizer, trainer.lr_scheduler = trainer.configure_optimizers()
    loader = trainer.get_dataloaders()[0]
    batch = trainer.configuration_manager.batch_size
    return Contender("nnU-Net", lambda: next(loader), trainer.train_step, batch)


def monai(
    cases: dict[str, Any],
    network: nn.Module,
    *,
    patch: tuple[int, ...],
    batch: int,
    device: torch.device,
    workers: int,
) -> Contender:
    """A plain loop around the given network, as MONAI's tutorials have it."""
    from monai.losses import DeepSupervisionLoss, DiceCELoss

    recipe = replace(RECIPES["tutorial"], patch=patch, cases_per_batch=batch)
    batches = forever(make_loader(cases["train"], recipe, workers=workers))
    network = network.to(device).train()
    optimizer = torch.optim.SGD(
        network.parameters(), lr=1e-3, momentum=0.99, weight_decay=3e-5, nesterov=True
    )
    loss = DeepSupervisionLoss(DiceCELoss(to_onehot_y=True, softmax=True))
    scaler = torch.amp.GradScaler(device.type, enabled=device.type == "cuda")

    def step(taken: Any) -> None:
        images, labels = taken["image"].to(device), taken["label"].to(device)
        optimizer.zero_grad()
        with torch.autocast(device.type, enabled=device.type == "cuda"):
            value = loss(network(images.as_tensor()), labels.as_tensor())
        scaler.scale(value).backward()
        scaler.step(optimizer)
        scaler.update()

    return Contender("MONAI", lambda: next(batches), step, batch)


def rows_of(contenders: list[Contender], options: argparse.Namespace) -> list[Any]:
    """Steps and batches of data, ours in each format against each peer's."""
    mine = [c for c in contenders if c.name.startswith("medseg")]
    peers = [c for c in contenders if c not in mine]
    pairs = [(our, peer) for peer in peers for our in mine]
    unit = "samples/CPU second" if options.busy else "samples/s"
    rows = []
    for our, peer in pairs:
        row: dict[str, Any] = {
            "name": f"training in {our.name.split()[1]} against {peer.name}",
            **compared(our.rates, peer.rates),
            "unit": unit,
            "data_share": round(statistics.median(our.data_shares), 4),
            "peer_data_share": round(statistics.median(peer.data_shares), 4),
            "spread": [round(min(our.rates), 3), round(max(our.rates), 3)],
        }
        if our.busy and peer.busy:
            row["gpu_percent"] = round(statistics.fmean(our.busy), 1)
            row["peer_gpu_percent"] = round(statistics.fmean(peer.busy), 1)
        rows.append(row)
    alone = options.device == "cpu" and options.threads == 1  # nothing read ahead
    for our, peer in pairs[:: len(mine)] if alone else []:
        row = {"name": f"data and augmentation against {peer.name}"}
        row |= compared(data_rates(our), data_rates(peer))
        rows.append({**row, "unit": unit})
    shared = {"rounds": options.rounds, "threads": options.threads}
    return [{**row, **shared} for row in rows]


def compared(ours: list[float], theirs: list[float]) -> dict[str, float]:
    """Medians over rounds, and ours as a multiple of the peer's."""
    our, their = statistics.median(ours), statistics.median(theirs)
    return {
        "ours": round(our, 3),
        "peer": round(their, 3),
        "ratio": round(our / their, 2),
    }


def data_rates(contender: Contender) -> list[float]:
    """Samples per second of fetching batches, had the steps cost nothing."""
    both = zip(contender.rates, contender.data_shares, strict=True)
    return [rate / share for rate, share in both]


def use_packages_of(python: str) -> None:
    """Lets what our environment lacks be imported from another one."""
    if Path(python).absolute() == Path(sys.executable).absolute():
        return
    find = "import sys, sysconfig; print(sys.version_info[:2], end='|'); "
    find += "print(sysconfig.get_path('purelib'))"
    answer = subprocess.run(
        [python, "-c", find], capture_output=True, text=True, check=True
    )
    version, _, folder = answer.stdout.strip().partition("|")
    if version != str(sys.version_info[:2]):
        raise SystemExit(f"{python} is Python {version}, this is {sys.version_info}")
    sys.path.append(folder)


def build(options: argparse.Namespace, store: Store) -> list[Contender]:
    """All contenders around copies of one network."""
    import json

    cases = json.loads((options.out / "cases.json").read_text())
    device = torch.device(options.device)
    trainer = make_trainer(
        options.out, options.out / "training_bench", device=options.device
    )
    trainer.initialize()
    manager = trainer.configuration_manager
    patch, batch = tuple(manager.patch_size), options.batch or manager.batch_size
    manager.configuration["batch_size"] = trainer.batch_size = batch
    network = getattr(trainer.network, "_orig_mod", trainer.network).cpu()
    formats = ["float32", "bfloat16"] if options.device == "cpu" else ["bfloat16"]
    found = [
        ours(
            store,
            copy.deepcopy(network),
            patch=patch,
            batch=batch,
            device=device,
            precision=precision,
        )
        for precision in formats
    ]
    found.append(
        monai(
            cases,
            copy.deepcopy(network),
            patch=patch,
            batch=batch,
            device=device,
            workers=min(options.threads - 1, 8),
        )
    )
    theirs = copy.deepcopy(network)
    if options.device != "cpu":  # as it does by itself
        theirs = torch.compile(theirs.to(device))
    return [*found, nnunet(trainer, theirs)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="Task04_Hippocampus")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--peer-python", default=sys.executable, help="has nnunetv2")
    parser.add_argument(
        "--threads", type=int, help="cores for each: 1 on a CPU, all beside a GPU"
    )
    parser.add_argument("--batch", type=int, help="another batch size for all")
    parser.add_argument("--steps", type=int, default=0, help="of a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--busy", action="store_true", help="CPU time, for a machine that others use"
    )
    parser.add_argument("--json", action="store_true", help="rows as JSON")
    options = parser.parse_args()
    options.out = options.out.resolve()
    options.jobs, options.fold = 1, 0
    if options.threads is None:
        options.threads = 1 if options.device == "cpu" else len(os.sched_getaffinity(0))
    options.steps = options.steps or (3 if options.device == "cpu" else 100)
    options.out.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore")
    if options.device == "cpu":  # beside a GPU as many as nnU-Net takes by itself
        os.environ["nnUNet_n_proc_DA"] = str(options.threads - 1)  # noqa: SIM112
    torch.set_num_threads(options.threads)
    clock = time.process_time if options.busy else time.perf_counter
    store = prepare_ours(options)
    prepare_nnunet(options)
    use_packages_of(options.peer_python)
    machine = describe_machine(options.device)
    with redirect_stdout(sys.stderr):  # nnU-Net prints
        contenders = build(options, store)
        for number in range(options.rounds + 1):
            for contender in contenders:
                contender.run(options.steps if number else 1, options.device, clock)
    for contender in contenders:  # the first round warms up
        del contender.rates[0], contender.data_shares[0]
    rows = rows_of(contenders, options)
    if options.json:
        print_rows(rows, machine=machine)
        return
    print(machine)
    for row in rows:
        print(
            f"{row['name']:40} {row['ours']:9} against {row['peer']} {row['unit']}: "
            f"{row['ratio']}x"
        )


if __name__ == "__main__":
    sys.path.insert(0, str(HERE))
    main()
