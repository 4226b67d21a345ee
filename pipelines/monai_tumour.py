"""Brain tumours with MONAI's network, loss and transforms, beside our own recipe.

    python pipelines/monai_tumour.py --data GLIOMA_2D --out study --budget 10m
    python pipelines/monai_tumour.py --out smoke --smoke

MONAI's parts are named by their paths in `configs/monai_tumour.yaml`; reading, the
prepared store, sampling, sliding windows, scores and tracking are medseg's. Our own
recipe (`configs/glioma_2d.yaml`) trains on the same patients for the same time. The
images of a patient are pooled before scoring.
"""

import argparse
from pathlib import Path

import pandas as pd

from medseg.console import Console, run_to_end
from medseg.evaluation.bootstrap import mean_interval
from medseg.runs.config import read_config
from medseg.runs.time_spent import time_of
from medseg.runs.train import TrainedRun, train
from medseg.testing.tiny_study import make_tiny_study

ROOT = Path(__file__).parents[1]
RECIPES = {"monai": "monai_tumour.yaml", "own": "glioma_2d.yaml"}


def main() -> None:
    options = parse_options()
    console = Console()
    console.log_to(options.out / "study.log")
    if options.smoke:
        data = make_tiny_study(options.out / "data")
        settings = [f"data={data}", "prepare.target_spacing=null", "training.steps=20"]
        settings += ["training.budget=null", "prepare.num_folds=2"]
        settings += ["plan.patch_size=[32,32]", "plan.batch_size=4"]
    elif options.data is None:
        raise SystemExit("name the folder of the data set with --data, or try --smoke")
    else:
        manifest = ROOT / "data_manifests" / "glioma_2d.yaml"
        settings = [f"data={manifest}", f"root={options.data}"]
        settings += [f"fold={options.fold}", f"training.budget={options.budget}"]
        settings += [f"training.clock={options.clock}", "metrics.distances=false"]

    rows = []
    for name in options.only or RECIPES:
        config = read_config(ROOT / "configs" / RECIPES[name], settings)
        run = train(
            config,
            options.out / name,
            device=options.device,
            resume=True,
            progress=console,
        )
        rows += row_of(name, run)
    table = pd.DataFrame(rows)
    table.to_csv(options.out / "recipes.csv", index=False)
    print(table.to_string(index=False, float_format="%.4f"))
    print(f"runs       {options.out}")


def row_of(name: str, run: TrainedRun) -> list[dict[str, object]]:
    """Dice of each structure: of patients, all images of each taken as one."""
    assert run.evaluation is not None, "a fold is held out"
    cases = run.evaluation.cases
    total = cases["volume_ml"] + cases["reference_ml"]
    weighted = cases.assign(total=total, both=cases["dice"].fillna(0) * total)
    seconds = time_of([run.folder]).seconds
    rows = []
    for structure, part in weighted.groupby("structure", sort=False):
        sums = part.groupby("patient_id", sort=False)[["both", "total"]].sum()
        dice = (sums["both"] / sums["total"]).to_numpy()
        low, high = mean_interval(dice)
        rows.append(
            {
                "recipe": name,
                "structure": structure,
                "patients": len(dice),
                "dice": dice.mean(),
                "low": low,
                "high": high,
                "dice_of_images": part["dice"].mean(),
                "steps": run.fit.steps,
                "training_s": round(run.fit.seconds, 1),
                "transforms": run.fit.shares.get("transforms", 0.0),
                "segmenting_s": seconds.get("segmenting held-out cases", float("nan")),
            }
        )
    return rows


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="folder with manifest.csv")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--budget", default="20m", help="training time of each")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--only", choices=RECIPES, nargs="+", help="one of the two")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--smoke", action="store_true", help="two minutes, no data")
    return parser.parse_args()


if __name__ == "__main__":
    run_to_end(main)
