"""Fine-tuning against training from scratch, at equal seconds, with few scans.

    python benchmarks/fine_tuning.py --data Task04_Hippocampus --out FOLDER --json

Subjects are drawn once, by a hash of their names: 20 are held out, of whom one scan
each scores everything; 60 train the parent; from the others come the few scans, another
draw for each seed, one of a subject, the 5 among the 10 and these among the 20. Every
arm sees the same scans, held-out subjects, seed and seconds, and predicts with the
weights at the end of its run. `--clock cpu`, the default, counts the processor seconds
of the training, so that a machine shared with others gives the same.

Arms: `parent` predicts without seeing any of the few scans; `scratch` begins with
random weights; `tuned` with the parent's, everything else alike; `frozen` keeps the
encoder as it is for the first 30 %; `gentle` lets encoder and decoder learn at a tenth
of the rate.

The same command continues: finished trainings are kept, a stopped one resumes.
Intervals are over the held-out subjects, of each the mean of the seeds (paired: of
differences).
"""

import argparse
import csv
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from machine import describe_machine, print_rows

from medseg.evaluation.bootstrap import mean_interval
from medseg.tables import read_frame

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "configs" / "hippocampus_3d.yaml"
HELD_OUT, PARENT = 20, 60
INIT = "training.init."
ARMS: dict[str, list[str]] = {
    "scratch": [],
    "tuned": [],
    "frozen": [f"{INIT}freeze_encoder=0.3"],
    "gentle": [f"{INIT}learning_rate_encoder=0.1", f"{INIT}learning_rate_decoder=0.1"],
}

Row = dict[str, Any]


def main() -> None:
    options = parse_options()
    subjects = read_subjects(options.data)
    drawn = sorted(subjects, key=lambda name: digest(f"fine-tuning:{name}"))
    held_out = drawn[:HELD_OUT]
    pool, rest = drawn[HELD_OUT : HELD_OUT + PARENT], drawn[HELD_OUT + PARENT :]
    parent = options.out / "parent"
    cases = [case for name in pool for case in subjects[name]]
    train(parent, cases, [], options, budget=options.parent_budget)
    scored = [subjects[name][0] for name in held_out]
    alone = options.out / "as_it_is"
    predict(parent, alone, scored, options)
    for seed in () if options.report else options.seeds:
        for count in options.counts:
            few = sorted(rest, key=lambda name: digest(f"{seed}:{name}"))[:count]
            given = [subjects[name][0] for name in few]
            for arm in options.arms:
                run = options.out / "runs" / f"{arm}_{count}_{seed}"
                init = None if arm == "scratch" else parent
                changes = [*ARMS[arm], f"training.seed={seed}"]
                train(run, given, scored, options, init=init, changes=changes)
    rows = compared(options)
    (options.out / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    if options.json:
        print_rows(rows, machine=describe_machine())
    else:
        print(to_table(rows))


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="Task04_Hippocampus")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--budget", default="90s", help="of each arm")
    parser.add_argument("--parent-budget", default="6m")
    parser.add_argument("--counts", type=int, nargs="+", default=[5, 10, 20])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=["scratch", "tuned"])
    parser.add_argument("--clock", choices=["wall", "cpu"], default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--report", action="store_true", help="of what is done; no more"
    )
    parser.add_argument("--json", action="store_true", help="rows as JSON")
    options = parser.parse_args()
    options.out, options.data = options.out.resolve(), options.data.resolve()
    return options


def read_subjects(data: Path) -> dict[str, list[str]]:
    """The scans of each subject: ``cases.csv`` has a column for it."""
    found: dict[str, list[str]] = {}
    with (data / "cases.csv").open() as file:
        for row in csv.DictReader(file):
            found.setdefault(row["subject"], []).append(row["id"])
    return found


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def train(
    run: Path,
    cases: list[str],
    scored: list[str],
    options: argparse.Namespace,
    *,
    init: Path | None = None,
    changes: Sequence[str] = (),
    budget: str | None = None,
) -> None:
    """Trains on some cases and scores others, unless that was done."""
    if (run / "done").is_file():
        return
    run.mkdir(parents=True, exist_ok=True)
    table = write_manifest(run / "data.csv", cases, scored, options.data)
    command = ["train", CONFIG, "--data", table, "-o", run, "--device", "cpu"]
    command += [
        "--budget",
        budget or options.budget,
        "--fold",
        "0" if scored else "none",
    ]
    command += ["--init", init] if init else []
    settings = [
        *("tracking.enabled=false", f"training.clock={options.clock}"),
        *("inference.overlap=0.5", "inference.engine=torch", "postprocessing=none"),
        *("metrics.distances=false", *changes),
    ]
    for setting in settings:
        command += ["--set", setting]
    if (run / "checkpoints" / "last.pt").is_file():
        command.append("--resume")
    medseg(command, run / "log.txt", options)
    (run / "done").touch()


def predict(
    model: Path, out: Path, cases: list[str], options: argparse.Namespace
) -> None:
    """Scores a model on some cases as it is, unless that was done."""
    if (out / "scores" / "cases.csv").is_file():
        return
    images, labels = out / "images", out / "labels"
    for folder, source in ((images, "imagesTr"), (labels, "labelsTr")):
        folder.mkdir(parents=True, exist_ok=True)
        for case in cases:
            name = f"{case}.nii.gz"
            (folder / name).unlink(missing_ok=True)
            (folder / name).symlink_to(options.data / source / name)
    common = ["--overlap", "0.5", "--engine", "torch", "--device", "cpu", "--no-page"]
    command = ["predict", model, images, "-o", out / "predictions", *common]
    medseg(command, out / "log.txt", options)
    command = ["evaluate", out / "predictions", labels, "-o", out / "scores"]
    medseg(command, out / "log.txt", options)


def write_manifest(path: Path, cases: list[str], scored: list[str], data: Path) -> Path:
    """A table of the cases, those to be scored as fold 0."""
    subjects = {case: s for s, known in read_subjects(data).items() for case in known}
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["case_id", "patient_id", "image", "label", "fold"])
        for fold, names in ((1, cases), (0, scored)):
            for name in names:
                files = [
                    data / f"{k}Tr" / f"{name}.nii.gz" for k in ("images", "labels")
                ]
                writer.writerow([name, subjects[name], *files, fold])
    path.with_suffix(".yaml").write_text(
        "name: Hippocampus\nlabels: {anterior: 1, posterior: 2}\nchannels: [MRI]\n"
        "licence: CC-BY-SA 4.0\n"
    )
    return path


def medseg(command: list[Any], log: Path, options: argparse.Namespace) -> None:
    names = ("OMP", "MKL", "OPENBLAS", "NUMEXPR")
    environment = {
        **os.environ,
        **{f"{name}_NUM_THREADS": str(options.threads) for name in names},
        "PYTHONPATH": str(ROOT),
    }
    with log.open("a") as file:
        subprocess.run(
            [sys.executable, "-m", "medseg", *map(str, command)],
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
            check=True,
        )


def compared(options: argparse.Namespace) -> list[Row]:
    """Mean Dice of the arms, and what each gains on training from scratch."""
    alone = dice_of([options.out / "as_it_is" / "scores" / "cases.csv"])
    rows = [{"name": "parent as it is", "dice": mean(alone), "subjects": len(alone)}]
    rows[0] |= {"dice_interval": interval(alone)}
    for count in options.counts:
        found = {}
        seeds = [seed for seed in options.seeds if is_done(seed, count, options)]
        for arm in options.arms if seeds else ():
            runs = [options.out / "runs" / f"{arm}_{count}_{seed}" for seed in seeds]
            found[arm] = dice_of([run / "validation" / "cases.csv" for run in runs])
            each = [mean(dice_of([run / "validation" / "cases.csv"])) for run in runs]
            row = {
                "name": f"{arm}, {count} scans",
                "scans": count,
                "arm": arm,
                "seconds": options.budget,
                "clock": options.clock,
                "seeds": seeds,
                "dice": mean(found[arm]),
                "dice_interval": interval(found[arm]),
                "dice_of_seeds": each,
                "steps": [steps_of(run) for run in runs],
                "subjects": len(found[arm]),
            }
            for other, name in ((found.get("scratch"), "scratch"), (alone, "parent")):
                if other is not None and arm != name:
                    gain = found[arm] - other
                    row[f"gain_on_{name}"] = mean(gain)
                    row[f"gain_on_{name}_interval"] = interval(gain)
            rows.append(row)
    return rows


def is_done(seed: int, count: int, options: argparse.Namespace) -> bool:
    """Whether all arms of a seed are there to be compared."""
    runs = [options.out / "runs" / f"{arm}_{count}_{seed}" for arm in options.arms]
    return all((run / "done").is_file() for run in runs)


def dice_of(tables: list[Path]) -> pd.Series:
    """Mean Dice of each held-out subject over structures and seeds."""
    frames = [read_frame(path) for path in tables]
    joined = pd.concat(frames)
    return joined.groupby("case_id")["dice"].mean().sort_index()


def mean(values: pd.Series) -> float:
    return round(float(values.mean()), 4)


def interval(values: pd.Series) -> list[float]:
    return [round(end, 4) for end in mean_interval(values.to_numpy())]


def steps_of(run: Path) -> int:
    import yaml

    values = yaml.safe_load((run / "model" / "model.yaml").read_text())
    return int(values["provenance"]["steps"])


def to_table(rows: list[Row]) -> str:
    lines = ["| scans | arm | seeds | Dice | 95 % | on scratch | 95 % |"]
    lines.append(f"|{'---|' * 7}")
    for row in rows:
        gain = row.get("gain_on_scratch")
        ends = row.get("gain_on_scratch_interval")
        lines.append(
            f"| {row.get('scans', 0)} | {row.get('arm', 'parent')} | "
            f"{len(row.get('seeds', ()))} | {row['dice']:.3f} | "
            f"{row['dice_interval'][0]:.3f} to {row['dice_interval'][1]:.3f} | "
            + (f"{gain:+.3f} | {ends[0]:+.3f} to {ends[1]:+.3f} |" if ends else "| |")
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
