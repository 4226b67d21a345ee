"""nnU-Net v2 as a contender: its own plan, loader, augmentation, trainer, validation.

Runs in an environment that has nnunetv2 and needs nothing of medseg:

    python peer_nnunet.py prepare WORK
    python peer_nnunet.py train WORK JOB --budget 300 --device cpu
    python peer_nnunet.py train WORK JOB --budget 300 --batch 2 --device cpu

The second is fitted to a short run on a CPU: batches of 2 in place of the plan's, so
that the budget holds several times as many steps. In both the schedule ends with the
budget.

WORK holds ``cases.json`` (see `time_to_dice.py`); preparing converts, plans and
preprocesses there, and writes `splits_final.json` from the given folds.
"""

import argparse
import copy
import json
import multiprocessing
import os
import shutil
import time
from pathlib import Path
from typing import Any

DATASET = "Dataset004_Benchmark"
CONFIGURATION = "3d_fullres"
CLOCKS = {"wall": time.monotonic, "cpu": time.process_time}
EPOCH_SECONDS = 20.0
"""Epochs are at least this long: nnU-Net draws a figure after each."""


def set_paths(work: Path) -> None:
    """Where nnU-Net looks; it reads them on import."""
    for kind in ("raw", "preprocessed", "results"):
        os.environ[f"nnUNet_{kind}"] = str(work / "nnunet" / kind)


def convert(work: Path) -> None:
    """The cases in nnU-Net's raw layout; labels as uint8, as it wants them."""
    import nibabel
    import numpy as np

    cases = json.loads((work / "cases.json").read_text())
    folder = work / "nnunet" / "raw" / DATASET
    for kind in ("imagesTr", "labelsTr"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for case in (*cases["train"], *cases["held_out"]):
        for channel, image in enumerate(case["images"]):
            name = f"{case['case_id']}_{channel:04d}.nii.gz"
            shutil.copyfile(image, folder / "imagesTr" / name)
        label = nibabel.load(case["label"])
        values = np.asarray(label.dataobj).astype(np.uint8)
        path = folder / "labelsTr" / f"{case['case_id']}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(values, label.affine), path)
    description = {
        "channel_names": {str(n): name for n, name in enumerate(cases["channels"])},
        "labels": {"background": 0, **cases["labels"]},
        "numTraining": len(cases["train"]) + len(cases["held_out"]),
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(description))


def prepare(work: Path, *, processes: int) -> None:
    set_paths(work)
    # planning takes the number of training's processes for its threads, which 0 is not
    os.environ["nnUNet_n_proc_DA"] = str(processes)  # noqa: SIM112
    convert(work)
    from nnunetv2.experiment_planning.plan_and_preprocess_api import (
        extract_fingerprints,
        plan_experiments,
        preprocess,
    )

    extract_fingerprints([4], num_processes=processes, check_dataset_integrity=True)
    plan_experiments([4])
    preprocess([4], configurations=[CONFIGURATION], num_processes=[processes])
    cases = json.loads((work / "cases.json").read_text())
    split = {
        "train": [case["case_id"] for case in cases["train"]],
        "val": [case["case_id"] for case in cases["held_out"]],
    }
    path = work / "nnunet" / "preprocessed" / DATASET / "splits_final.json"
    path.write_text(json.dumps([split]))


def load_plans(work: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    folder = work / "nnunet" / "preprocessed" / DATASET
    plans = json.loads((folder / "nnUNetPlans.json").read_text())
    plans["continue_training"] = False
    return plans, json.loads((folder / "dataset.json").read_text())


def make_trainer(
    work: Path,
    results: Path,
    *,
    device: str,
    clock: str = "wall",
    batch: int | None = None,
) -> Any:
    """nnU-Net's trainer on our fold, with a run that ends with a budget.

    Args:
        work: Holds what was preprocessed.
        results: Where the trainer writes.
        device: Where to train.
        clock: What the budget counts, one of `CLOCKS`.
        batch: Patches of a step; None takes the plan's.
    """
    now = CLOCKS[clock]
    set_paths(work)
    os.environ["nnUNet_results"] = str(results)  # noqa: SIM112 - its own name
    import torch
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    class BudgetTrainer(nnUNetTrainer):
        """Epochs sized to a budget; nothing else is changed.

        The polynomial schedule follows the clock and so ends with the budget.
        Training and validation iterations alternate as 250 to 50, as in nnU-Net.
        """

        def train_for(self, budget: float) -> dict[str, float]:
            self.on_train_start()
            seconds = self.measure_step()
            epoch = max(EPOCH_SECONDS, 12 * seconds)
            self.num_epochs = max(2, min(1000, round(budget / epoch)))
            self.lr_scheduler.max_steps = self.num_epochs
            self.budget, self.start, steps = budget, now(), 0
            while self.current_epoch < self.num_epochs and self.done() < 1:
                steps += self.one_epoch(seconds)
            train_seconds = now() - self.start
            self.on_train_end()
            return {
                "train_seconds": train_seconds,
                "steps": steps,
                "epochs": self.num_epochs,
                "first_step_seconds": seconds,
            }

        def done(self) -> float:
            return (now() - self.start) / self.budget

        def one_epoch(self, step_seconds: float) -> int:
            """Steps and validation steps up to the end of this epoch's time."""
            self.on_epoch_start()
            self.on_train_epoch_start()
            end = (self.current_epoch + 1) / self.num_epochs
            share = step_seconds * 0.1 / self.budget  # a validation step, per step
            outputs: list[Any] = []
            while not outputs or self.done() + share * len(outputs) < end:
                self.lr_scheduler.step(min(self.done(), 0.999) * self.num_epochs)
                outputs.append(self.train_step(next(self.dataloader_train)))
            self.on_train_epoch_end(outputs)
            with torch.no_grad():
                self.on_validation_epoch_start()
                scores = [
                    self.validation_step(next(self.dataloader_val))
                    for _ in range(max(1, round(len(outputs) / 5)))
                ]
                self.on_validation_epoch_end(scores)
            self.on_epoch_end()
            return len(outputs)

        def measure_step(self) -> float:
            """Seconds of a step with its batch; the weights are put back."""
            network = self.network
            before = copy.deepcopy(network.state_dict())
            optimizer = copy.deepcopy(self.optimizer.state_dict())
            network.train()
            taken = []
            for _ in range(3):
                start = now()
                self.train_step(next(self.dataloader_train))
                taken.append(now() - start)
            network.load_state_dict(before)
            self.optimizer.load_state_dict(optimizer)
            return min(taken)

    plans, dataset = load_plans(work)
    if batch is not None:
        plans["configurations"][CONFIGURATION]["batch_size"] = batch
    return BudgetTrainer(
        plans=plans,
        configuration=CONFIGURATION,
        fold=0,
        dataset_json=dataset,
        device=torch.device(device),
    )


def train(
    work: Path,
    job: Path,
    *,
    budget: float,
    device: str,
    clock: str,
    batch: int | None,
) -> None:
    trainer = make_trainer(
        work, job / "results", device=device, clock=clock, batch=batch
    )
    facts = trainer.train_for(budget)
    start = time.monotonic()
    trainer.perform_actual_validation()
    facts["validation_seconds"] = time.monotonic() - start
    facts["batch_size"] = trainer.configuration_manager.batch_size
    found = sorted((Path(trainer.output_folder) / "validation").glob("*.nii.gz"))
    (job / "predictions").mkdir(exist_ok=True)
    for path in found:
        shutil.copyfile(path, job / "predictions" / path.name)
    (job / "training.json").write_text(json.dumps(facts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("verb", choices=["prepare", "train"])
    parser.add_argument("work", type=Path)
    parser.add_argument("job", type=Path, nargs="?")
    parser.add_argument("--budget", type=float, help="seconds")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--batch", type=int, help="patches of a step, not the plan's")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    work = options.work.resolve()
    if options.verb == "prepare":
        prepare(work, processes=options.threads)
    else:
        job = options.job.resolve()
        train(
            work,
            job,
            budget=options.budget,
            device=options.device,
            clock=options.clock,
            batch=options.batch,
        )


if __name__ == "__main__":
    multiprocessing.freeze_support()
    main()
