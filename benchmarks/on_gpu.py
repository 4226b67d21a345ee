"""The parts of on_gpu.sh, each printing rows of JSON as they come.

    python benchmarks/on_gpu.py smoke|throughput|inference [--device cuda]
    python benchmarks/on_gpu.py tests FILE...
    python benchmarks/on_gpu.py dice|peers --data Task04_Hippocampus --out FOLDER

Needs little beside torch (tests/import_gate.py says what). What cannot be measured is a
row that says why.
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from pydantic import TypeAdapter

from medseg.augmentation.settings import AugmentationSettings
from medseg.datasets import load_dataset
from medseg.device import describe_device, pick_device
from medseg.inference.engines.torch_engine import torch_engine
from medseg.inference.predictor import Predictor
from medseg.inference.settings import InferenceSettings
from medseg.losses import LossSettings
from medseg.networks.build import build_network
from medseg.networks.settings import UNetSettings
from medseg.plan import Plan
from medseg.preparation import prepare
from medseg.progress import Silent
from medseg.sampling import PatchSampler, SamplingSettings
from medseg.store import Store
from medseg.testing.tiny_study import make_tiny_study
from medseg.training.batches import BatchSource
from medseg.training.compilation import compile_if_faster
from medseg.training.precision import candidates
from medseg.training.process_group import ProcessGroup
from medseg.training.resident import ResidentCases
from medseg.training.settings import TrainingSettings
from medseg.training.state import TrainingState, fresh_state
from medseg.training.step import segmentation_loss, training_step

NETWORK = UNetSettings(channels=(32, 64, 128, 256), strides=(1, 2, 2, 2))
PATCH = (40, 56, 40)
NAMES = [kind.model_fields["name"] for kind in get_args(get_args(LossSettings)[0])]
LOSSES = sorted(name.default for name in NAMES if isinstance(name.default, str))
"""The project's own."""


def say(part: str, **values: Any) -> None:
    print(json.dumps({"part": part, **values}), flush=True)


def tiny_store(folder: str) -> Store:
    study = make_tiny_study(Path(folder, "study"), shape=(48, 64, 48))
    return prepare(load_dataset(study), Path(folder, "store"), num_folds=3, workers=1)


def hippocampus_plan(store: Store, *, batch: int, small: bool) -> Plan:
    """nnU-Net's network and patch for the hippocampus; smaller for a dry run."""
    network = UNetSettings(channels=(4, 8), strides=(1, 2)) if small else NETWORK
    changes = {
        "network": network,
        "patch_size": (16, 16, 16) if small else PATCH,
        "batch_size": batch,
    }
    return store.plan.model_copy(update=changes)


def make_batches(store: Store, plan: Plan, device: torch.device) -> BatchSource:
    cases = [store.case(case_id) for case_id in store.case_ids]
    resident = None
    if device.type == "cuda":
        resident = ResidentCases(cases, device=device, spatial_dims=3)
    sampler = PatchSampler(
        cases, patch_size=plan.patch_size, settings=SamplingSettings(), seed=0
    )
    return BatchSource(
        cases,
        sampler,
        plan=plan,
        augmentation=AugmentationSettings(),
        seed=0,
        device=device,
        resident=resident,
    )


def finished(device: torch.device) -> float:
    """The time when the device has done what it was asked for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def smoke(options: argparse.Namespace, device: torch.device) -> None:
    """A step of training with every loss."""
    adapter: TypeAdapter[Any] = TypeAdapter(LossSettings)
    with tempfile.TemporaryDirectory() as folder:
        store = tiny_store(folder)
        plan = hippocampus_plan(store, batch=2, small=True)
        with make_batches(store, plan, device) as batches:
            batch = batches.next()
        for name in LOSSES:
            settings = TrainingSettings(loss=adapter.validate_python({"name": name}))
            row: dict[str, Any] = {"loss": name}
            try:
                state = fresh_state(plan, settings, device)
                state.precision = candidates(device)[0]
                loss = segmentation_loss(plan, settings).to(device)
                start = finished(device)
                value = step_once(state, batch, loss)
                row |= {"value": float(value), "seconds": finished(device) - start}
            except ModuleNotFoundError as error:
                row["not measured"] = f"{error.name} is absent"
            except Exception as error:  # noqa: BLE001 - the others want their turn
                options.failed = True
                row |= {"error": " ".join(f"{type(error).__name__}: {error}".split())}
            say("smoke", **row)


def step_once(state: TrainingState, batch: Any, loss: torch.nn.Module) -> torch.Tensor:
    return training_step(state, batch, loss, learning_rate=1e-3, gradient_clip=12.0)


def tests(options: argparse.Namespace, device: torch.device) -> None:
    """The tests marked gpu, of the files that are named."""
    del device
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-o", "addopts="]
    command += ["-W", "ignore::pytest.PytestConfigWarning", "-p", "no:cacheprovider"]
    # read by cuBLAS at its first use, which a test before a repeatable run may be
    environment = {**os.environ, "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    with subprocess.Popen(
        [*command, "-rA", "--tb=short", *options.files],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            word, _, name = line.strip().partition(" ")
            if word in {"PASSED", "FAILED", "ERROR", "SKIPPED"}:
                say("tests", test=name, outcome=word.lower())
            else:
                print(line, end="", file=sys.stderr, flush=True)
    say("tests", exit_code=process.returncode)
    options.failed = process.returncode != 0


def throughput(options: argparse.Namespace, device: torch.device) -> None:
    """Samples a second of whole steps with their batches, plain and compiled."""
    settings = TrainingSettings()
    with tempfile.TemporaryDirectory() as folder:
        store = tiny_store(folder)
        plan = hippocampus_plan(store, batch=9, small=device.type == "cpu")
        state = fresh_state(plan, settings, device)
        state.precision = candidates(device)[0]
        loss = segmentation_loss(plan, settings).to(device)
        with make_batches(store, plan, device) as batches:
            rate(state, batches, loss, plan, device, runner="plain")
            if device.type != "cuda":
                say("throughput", runner="compiled", **{"not measured": "no GPU"})
                return
            state.runner = compile_if_faster(
                state, batches.peek(), loss, progress=Silent()
            )
            if state.runner is None:
                say("throughput", runner="compiled", **{"not measured": "not faster"})
                return
            rate(state, batches, loss, plan, device, runner="compiled")


def rate(
    state: TrainingState,
    batches: BatchSource,
    loss: torch.nn.Module,
    plan: Plan,
    device: torch.device,
    *,
    runner: str,
) -> None:
    """A row for each of three rounds of steps, after some that warm up."""
    steps = 50 if device.type == "cuda" else 2
    for number in range(4):
        start = finished(device)
        for _ in range(steps):
            step_once(state, batches.next(), loss)
        seconds = finished(device) - start
        if number:
            say(
                "throughput",
                runner=runner,
                precision=state.precision,
                batch=plan.batch_size,
                samples_per_second=round(steps * plan.batch_size / seconds, 2),
                device=describe_device(device),
            )


def inference(options: argparse.Namespace, device: torch.device) -> None:
    """Seconds of a prepared scan, and its windows a second."""
    del options
    cuda = device.type == "cuda"
    shape = (256, 256, 160) if cuda else (40, 40, 40)
    image = np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        plan = hippocampus_plan(tiny_store(folder), batch=1, small=not cuda)
    plan = plan.model_copy(update={"patch_size": (128,) * 3 if cuda else (32,) * 3})
    network = build_network(
        plan.network, spatial_dims=3, in_channels=1, out_channels=plan.num_outputs
    )
    network = network.eval().to(device)
    for precision in dict.fromkeys(("float32", candidates(device)[0])):
        engine = torch_engine(network, device=device, precision=precision)
        windows = 0

        def counted(batch: torch.Tensor, run: Any = engine) -> torch.Tensor:
            nonlocal windows
            windows += len(batch)
            return run(batch)  # type: ignore[no-any-return]

        predictor = Predictor(
            network, plan, device, InferenceSettings(overlap=0.5), forward=counted
        )
        times = []
        for _ in range(3):
            start, windows = finished(device), 0
            predictor.predict_prepared(image)
            times.append(finished(device) - start)
        seconds = statistics.median(times[1:])
        say(
            "inference",
            precision=precision,
            shape=shape,
            windows=windows,
            seconds=round(seconds, 3),
            windows_per_second=round(windows / seconds, 2),
        )


class Rows:
    """A run's logger that prints the Dice of whole cases on the way."""

    run_id: str | None = None

    def __init__(self) -> None:
        self._start = time.monotonic()

    def log_metrics(self, metrics: Mapping[str, float], *, step: int) -> None:
        if "dice/mean" in metrics:
            seconds = round(time.monotonic() - self._start, 1)
            dice = round(metrics["dice/mean"], 4)
            say("dice", seconds=seconds, step=step, dice=dice)

    def log_params(self, params: Any) -> None:
        pass

    def log_artifact(self, path: Path, *, folder: str = "") -> None:
        pass

    def set_tags(self, tags: Any) -> None:
        pass

    def finish(self, status: Any) -> None:
        pass


def dice(options: argparse.Namespace, device: torch.device) -> None:
    """Dice of whole held-out cases on the way of a run of five minutes."""
    from medseg.runs.config import read_config
    from medseg.runs.fit import fit_run
    from medseg.runs.setup import set_up_run

    changes = [f"data={options.data}", "fold=0", f"training.budget={options.budget}"]
    config = read_config(Path("configs/hippocampus_3d.yaml"), changes)
    run = set_up_run(
        config, options.out, device=device, processes=ProcessGroup(), progress=Silent()
    )
    result = fit_run(run, Rows(), resume=False, profile=False)
    say(
        "dice",
        budget=options.budget,
        steps=result.steps,
        best=round(result.best_dice, 4),
        seconds=round(result.seconds, 1),
        device_busy=result.utilisation,
        shares={part: round(share, 3) for part, share in result.shares.items()},
    )


def peers(options: argparse.Namespace, device: torch.device) -> None:
    """Samples a second beside nnU-Net and MONAI, by benchmarks/training.py."""
    missing = [n for n in ("nnunetv2", "monai") if importlib.util.find_spec(n) is None]
    if missing:
        say("peers", **{"not measured": f"{' and '.join(missing)} absent"})
        return
    command = [sys.executable, "benchmarks/training.py", "--data", str(options.data)]
    command += ["--out", str(options.out), "--device", str(device), "--json"]
    options.failed = subprocess.run(command).returncode != 0


PARTS: dict[str, Callable[[argparse.Namespace, torch.device], None]] = {
    "smoke": smoke,
    "tests": tests,
    "throughput": throughput,
    "inference": inference,
    "dice": dice,
    "peers": peers,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("files", nargs="*", help="of tests")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--budget", default="5m")
    options = parser.parse_args()
    options.failed = False
    device = torch.device("cpu")
    if options.part != "tests":
        device = pick_device(options.device)
    PARTS[options.part](options, device)
    sys.exit(options.failed)


if __name__ == "__main__":
    main()
