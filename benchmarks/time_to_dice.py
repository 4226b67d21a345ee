"""Dice on whole held-out volumes against training time: medseg, nnU-Net v2, MONAI.

    python benchmarks/time_to_dice.py --data Task04_Hippocampus --out FOLDER \
        --peer-python ENV/bin/python --budgets 5m 15m 60m --threads 1 --jobs 2

Every contender and budget is a job in its own folder. The same command continues:
finished jobs are skipped; one that was killed starts anew, medseg's from its
checkpoint. Every job has `--threads` cores of its own and no more.

`--clock cpu` counts the processor seconds of each contender's own process in place of
time that passes, so that budgets are equal on a machine that others use, too; with
one thread and no worker processes, on a free core, both are the same.

What is compared: the weights at the end of the run, chosen by no score, on the cases
that a fold by subject holds out; the same fold, cores and scorer for all. Not counted:
conversion, planning, preprocessing, filling caches and the final prediction. All
schedules end with the budget. nnunet: its own plan, loader, augmentation and
validation (which mirrors), by its trainer; nnunet-batch2: the same, batches of 2, so
that a budget of minutes on a CPU holds several times as many steps; monai: its
dynunet_pipeline tutorial for Task04, made for GPUs; monai-unet: a small UNet as a user
on a CPU would set it up (both in `peer_monai.py`); medseg:
`configs/hippocampus_3d.yaml`.

nnunetv2 2.8.1 is expected in the environment of `--peer-python`; MONAI runs in ours.
"""

import argparse
import json
import os
import queue
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from machine import describe_machine, print_rows

from medseg.evaluation.pairs import CasePair
from medseg.evaluation.settings import MetricSettings
from medseg.runs.prepare import prepare_dataset
from medseg.scoring.result import score, write_evaluation
from medseg.store import Store
from medseg.training.settings import parse_duration

HERE = Path(__file__).resolve().parent
CONFIG = HERE.parent / "configs" / "hippocampus_3d.yaml"
COLOURS = {
    "medseg": "#0b7285",
    "nnunet": "#c2255c",
    "nnunet-batch2": "#862e9c",
    "monai": "#e67700",
    "monai-unet": "#2b8a3e",
}
CONTENDERS = tuple(COLOURS)

Row = dict[str, Any]


def main() -> None:
    options = parse_options()
    options.out.mkdir(parents=True, exist_ok=True)
    store = prepare_ours(options)
    if {"nnunet", "nnunet-batch2"} & set(options.only):
        prepare_nnunet(options)
    jobs = [(name, text) for text in options.budgets for name in options.only]
    cores = queue.SimpleQueue()
    for share in share_cores(options.jobs, options.threads):
        cores.put(share)

    def work(job: tuple[str, str]) -> Row:
        mine = cores.get()
        try:
            return run_job(*job, options=options, store=store, cores=mine)
        finally:
            cores.put(mine)

    with ThreadPoolExecutor(options.jobs) as pool:
        rows = list(pool.map(work, jobs))
    done = [row for row in rows if "dice" in row]
    if options.json:
        for row in compared(done):
            print_rows([row], machine=row.pop("machine"))
    else:
        print(to_table(done))
    (options.out / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    (options.out / "table.md").write_text(to_table(done) + "\n")
    if done:
        draw(done, options.out / "time_to_dice.png")
    failed = [row for row in rows if "dice" not in row]
    for row in failed:
        print(f"{row['name']}: failed, see {row['log']}", file=sys.stderr)
    sys.exit(1 if failed else 0)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="Task04_Hippocampus")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--peer-python", default=sys.executable, help="has nnunetv2")
    parser.add_argument("--budgets", nargs="+", default=["5m", "15m", "60m"])
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, default=CONTENDERS)
    parser.add_argument("--threads", type=int, default=1, help="cores of a job")
    parser.add_argument("--jobs", type=int, default=1, help="jobs at a time")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", action="store_true", help="rows as JSON")
    options = parser.parse_args()
    options.out = options.out.resolve()
    if options.clock == "cpu" and (options.threads > 1 or options.device != "cpu"):
        raise SystemExit("--clock cpu compares on one thread of a CPU alone")
    return options


def share_cores(jobs: int, threads: int) -> list[tuple[int, ...]]:
    """Cores of each job at a time; none has more than it was given."""
    if not hasattr(os, "sched_getaffinity"):
        return [()] * jobs
    cores = sorted(os.sched_getaffinity(0))
    if jobs * threads > len(cores):
        raise SystemExit(
            f"{jobs} jobs of {threads} threads need {jobs * threads} cores, "
            f"{len(cores)} may be used"
        )
    return [tuple(cores[n * threads : (n + 1) * threads]) for n in range(jobs)]


def prepare_ours(options: argparse.Namespace) -> Store:
    """The prepared store, and ``cases.json`` for the others."""
    folder = options.out / "store"
    if (folder / "store.json").is_file():
        store = Store.open(folder)
    else:
        store = prepare_dataset(options.data, folder, device=options.device)
    train, held_out = store.split(options.fold)
    cases = {
        "channels": [channel.name for channel in store.plan.channels],
        "labels": dict(store.plan.labels.names),
        "train": [describe_case(store, case) for case in train],
        "held_out": [describe_case(store, case) for case in held_out],
    }
    (options.out / "cases.json").write_text(json.dumps(cases, indent=1))
    return store


def describe_case(store: Store, case_id: str) -> Row:
    return {
        "case_id": case_id,
        "images": [str(path.resolve()) for path in store.images(case_id)],
        "label": str(store.label(case_id).resolve()),
    }


def prepare_nnunet(options: argparse.Namespace) -> None:
    stamp = options.out / "nnunet" / "prepared"
    if stamp.is_file():
        return
    shutil.rmtree(options.out / "nnunet", ignore_errors=True)
    command = [options.peer_python, HERE / "peer_nnunet.py", "prepare", options.out]
    count = str(options.threads * options.jobs)
    path = options.out / "nnunet_prepare.log"
    with path.open("w") as log:
        done = subprocess.run(
            [*command, "--threads", count], stdout=log, stderr=subprocess.STDOUT
        )
    if done.returncode:
        raise SystemExit(f"nnU-Net's preparation failed, see {path}")
    stamp.touch()


def run_job(
    name: str,
    text: str,
    *,
    options: argparse.Namespace,
    store: Store,
    cores: tuple[int, ...],
) -> Row:
    """Trains and scores one contender at one budget, unless that was done."""
    job = options.out / "jobs" / f"{name}_{text}_{options.clock}"
    result = job / "result.json"
    if result.is_file():
        return json.loads(result.read_text())
    if job.exists() and name != "medseg":  # only medseg continues from a checkpoint
        shutil.rmtree(job)
    job.mkdir(parents=True, exist_ok=True)
    seconds = float(parse_duration(text))
    machine = describe_machine(options.device)
    start = time.monotonic()
    with (job / "log.txt").open("a") as log:
        child = subprocess.Popen(
            command_of(name, job, seconds, options),
            env=environment(options.threads, store, options),
            preexec_fn=(lambda: os.sched_setaffinity(0, cores)) if cores else None,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(usage[1])
    wall = time.monotonic() - start
    row = {"name": f"{name} {text}", "contender": name, "budget_seconds": seconds}
    row["clock"] = options.clock
    if child.returncode:
        return {**row, "log": str(job / "log.txt")}
    processor = usage[2].ru_utime + usage[2].ru_stime
    row |= {
        **training_facts(name, job),
        **scores(store, job, predictions_of(name, job), options.fold),
        "wall_seconds": round(wall, 1),
        "cpu_seconds": round(processor, 1),
        "cores_used": round(processor / wall, 2),
        "threads": options.threads,
        "machine": machine,
    }
    result.write_text(json.dumps(row))
    return row


def command_of(
    name: str, job: Path, seconds: float, options: argparse.Namespace
) -> list[Any]:
    last = ["--budget", str(seconds), "--device", options.device]
    clock = ["--clock", options.clock]
    if name.startswith("nnunet"):
        batch = ["--batch", "2"] if name == "nnunet-batch2" else []
        script = [options.peer_python, HERE / "peer_nnunet.py", "train"]
        return [*script, options.out, job, *last, *clock, *batch]
    if name.startswith("monai"):
        recipe = ["--recipe", "unet" if name == "monai-unet" else "tutorial"]
        script = [sys.executable, HERE / "peer_monai.py"]
        return [*script, options.out, job, *last, *clock, *recipe]
    command = [sys.executable, "-m", "medseg", "train", CONFIG]
    command += ["--data", options.out / "store", "--fold", str(options.fold)]
    command += ["-o", job / "run", "--set", "tracking.enabled=false"]
    command += ["--set", f"training.clock={options.clock}"]
    last[1] = f"{seconds}s"
    if (job / "run" / "checkpoints" / "last.pt").is_file():
        last.append("--resume")
    return [*command, *last]


def environment(
    threads: int, store: Store, options: argparse.Namespace
) -> dict[str, str]:
    """The same number of threads for all; nnU-Net's workers share the job's cores."""
    del store, options
    count = str(threads)
    names = ("OMP", "MKL", "OPENBLAS", "NUMEXPR")
    return {
        **os.environ,
        **{f"{name}_NUM_THREADS": count for name in names},
        "nnUNet_n_proc_DA": str(threads - 1),
        "nnUNet_def_n_proc": "1",
        "PYTHONPATH": os.pathsep.join(
            [str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        ),
    }


def predictions_of(name: str, job: Path) -> Path:
    if name == "medseg":
        return job / "run" / "validation" / "predictions"
    return job / "predictions"


def training_facts(name: str, job: Path) -> Row:
    """What the run itself says of its length."""
    if name != "medseg":
        facts = json.loads((job / "training.json").read_text())
    else:
        import yaml

        model = yaml.safe_load((job / "run" / "model" / "model.yaml").read_text())
        plan = yaml.safe_load((job / "run" / "plan.yaml").read_text())
        origin = model["provenance"]
        facts = {
            "train_seconds": origin["seconds"],
            "steps": origin["steps"],
            "batch_size": plan["batch_size"],
        }
    kept = ("train_seconds", "steps", "batch_size")
    return {key: round(float(facts[key]), 1) for key in kept}


def scores(store: Store, job: Path, predictions: Path, fold: int) -> Row:
    """Dice on the held-out cases' own grids, by one scorer for all."""
    pairs = [
        CasePair(
            case_id,
            predictions / f"{case_id}.nii.gz",
            store.label(case_id),
            store.patients[case_id],
        )
        for case_id in store.split(fold)[1]
    ]
    evaluation = score(pairs, store.plan.labels, MetricSettings(), workers=1)
    write_evaluation(job / "scores", evaluation)
    table = evaluation.summary
    table = table[table["metric"] == "dice"].set_index("structure")
    overall = table.iloc[-1]  # the mean over structures, where there are several
    return {
        "dice": round(float(overall["mean"]), 4),
        "dice_low": round(float(overall["ci_low"]), 4),
        "dice_high": round(float(overall["ci_high"]), 4),
        **{
            f"dice_{name}": round(float(table.loc[name, "mean"]), 4)
            for name in store.plan.labels.structures
        },
        "cases": evaluation.num_scored,
        "failed": len(evaluation.failures),
    }


def compared(rows: list[Row]) -> list[Row]:
    """medseg at each budget against the better peer at it, and at the longest one."""
    longest = max((row["budget_seconds"] for row in rows), default=0.0)
    found = []
    for our in (row for row in rows if row["contender"] == "medseg"):
        for budget in sorted({our["budget_seconds"], longest}):
            peers = [
                row
                for row in rows
                if row["contender"] != "medseg" and row["budget_seconds"] == budget
            ]
            if not peers:
                continue
            best = max(peers, key=lambda row: row["dice"])
            found.append(
                {
                    "name": f"Dice after {our['name'].split()[1]}, peers after "
                    f"{best['name'].split()[1]}",
                    "ours": our["dice"],
                    "peer": best["dice"],
                    "ratio": round(our["dice"] / best["dice"], 3)
                    if best["dice"]
                    else None,
                    "unit": "Dice",
                    "best_peer": best["contender"],
                    "all": [facts_of(row) for row in (our, *peers)],
                    "machine": our["machine"],
                }
            )
    return found


def facts_of(row: Row) -> Row:
    kept = ("name", "clock", "dice", "dice_low", "dice_high", "steps", "batch_size")
    return {key: row[key] for key in (*kept, "cores_used", "cases")}


def to_table(rows: list[Row]) -> str:
    lines = [
        "| contender | minutes (of) | steps | batch | Dice | 95 % | cores used |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda r: (r["budget_seconds"], -r["dice"])):
        lines.append(
            f"| {row['contender']} | {minutes_of(row):.1f} ({row['clock']}) | "
            f"{row['steps']:.0f} | {row['batch_size']:.0f} | {row['dice']:.4f} | "
            f"{row['dice_low']:.4f} to {row['dice_high']:.4f} | {row['cores_used']} |"
        )
    return "\n".join(lines)


def minutes_of(row: Row) -> float:
    """The budget, or the training where its last step ended after it."""
    return max(row["budget_seconds"], row["train_seconds"]) / 60


def draw(rows: list[Row], path: Path) -> None:
    """Dice against minutes, with intervals over patients."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for name in CONTENDERS:
        mine = [row for row in rows if row["contender"] == name]
        mine.sort(key=minutes_of)
        if not mine:
            continue
        minutes = [minutes_of(row) for row in mine]
        dice = [row["dice"] for row in mine]
        below = [row["dice"] - row["dice_low"] for row in mine]
        above = [row["dice_high"] - row["dice"] for row in mine]
        axes.errorbar(
            minutes,
            dice,
            yerr=[below, above],
            label=name,
            color=COLOURS[name],
            marker="o",
            capsize=3,
        )
    axes.set_xscale("log")
    ticks = sorted({round(row["budget_seconds"] / 60, 2) for row in rows})
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("minutes of training")
    axes.set_ylabel("mean Dice, whole held-out volumes")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=160)
    plt.close(figure)


if __name__ == "__main__":
    main()
