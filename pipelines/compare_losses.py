"""Which loss is better on your data, and is it luck? One study, one page.

    python pipelines/compare_losses.py --data DATASET --out study --budget 10m
    python pipelines/compare_losses.py --out smoke --smoke

Trains every loss on the same folds, then compares them patient by patient. Runs that
are finished stay; the same command continues a stopped study.
"""

import argparse
from pathlib import Path

import yaml

from medseg.console import Console, run_to_end
from medseg.files import write_text
from medseg.runs.time_spent import time_of
from medseg.studies.compare import compare
from medseg.testing.tiny_study import make_tiny_study

BASE = Path(__file__).resolve().parents[1] / "configs" / "default_3d.yaml"
LOSSES = ("ce", "dice", "dice_ce", "focal", "dice_focal", "tversky")


def main() -> None:
    options = parse_options()
    console = Console()
    console.log_to(options.out / "study.log")
    data, folds = options.data, [0, 1, 2]
    losses: tuple[str, ...] = LOSSES
    length: dict[str, object] = {"budget": options.budget, "epochs": None}
    if options.smoke:
        data = make_tiny_study(options.out / "data")
        losses, folds = ("dice_ce", "dice_focal"), [0]
        length = {"steps": 20, "epochs": None}
    if data is None:
        raise SystemExit("name the data set with --data, or try --smoke")

    # A study is a base and what each variation changes in it.
    study = {
        "name": "losses",
        "base": str(BASE),
        "folds": folds,
        "shared": {"training": length},
        "variations": {name: {"training": {"loss": {"name": name}}} for name in losses},
        "metrics": ["dice", "nsd"],
    }
    write_text(options.out / "study.yaml", yaml.safe_dump(study, sort_keys=False))
    result = compare(
        options.out / "study.yaml",
        options.out / "study",
        data=data,
        root=options.root,
        device=options.device,
        progress=console,
    )
    print(result.text)
    runs = options.out / "study" / "runs"
    print(f"figures    {options.out / 'study' / 'figures'}")
    print(f"report     {options.out / 'study' / 'report.html'}")
    print(f"tracking   medseg ui {runs}")
    print(f"longest    {time_of(runs.iterdir()).describe()}")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="data set in any understood layout")
    parser.add_argument("--root", type=Path, help="where a manifest's paths start")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--budget", default="10m", help="training time of each run")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--smoke", action="store_true", help="two minutes, no data")
    return parser.parse_args()


if __name__ == "__main__":
    run_to_end(main)
