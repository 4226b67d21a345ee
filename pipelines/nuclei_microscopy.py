"""Cell nuclei in microscopy: every stain by one model, every nucleus a number.

    python pipelines/nuclei_microscopy.py --data NUCLEI --out study --budget 60m
    python pipelines/nuclei_microscopy.py --out smoke --smoke

The test split is a tenth of the groups of each stain, drawn once by a hash of the
group's name (data_manifests/nuclei.csv). It takes no part in any choice: weights come
from nine tenths of the other groups, the thresholds that cut cells apart from the last
tenth. AP is TP / (TP + FP + FN) at an IoU, the mean of pictures.

Stopped at any moment, the same command continues. With --networks 4 four networks,
alike but for their seed, predict together. They can be trained side by side, a core or
a GPU each, by commands with --only 0, --only 1 and so on at once; the same command
without it then scores them.
"""

import argparse
from pathlib import Path

import pandas as pd

from medseg.console import Console, run_to_end
from medseg.datasets import load_dataset
from medseg.evaluation.bootstrap import mean_interval
from medseg.runs.config import read_config
from medseg.scoring.result import Evaluation
from medseg.scoring.test_split import score_test_split
from medseg.studies.train_ensemble import train_ensemble
from medseg.testing.tiny_cells import make_tiny_cells

ROOT = Path(__file__).parents[1]
COLUMNS = ("ap_0.5", "ap_0.75", "ap_0.9", "panoptic_quality", "aggregated_jaccard")
WITH_INTERVAL = ("ap_0.5", "ap_0.75")
"""Columns that get an interval: over groups, since tiles of one picture are alike."""


def main() -> None:
    options = parse_options()
    console = Console()
    console.log_to(options.out / "study.log")
    manifest = ROOT / "data_manifests" / "nuclei.csv"
    settings = [f"training.budget={options.budget}", f"root={options.data}"]
    if options.smoke:
        manifest = make_tiny_cells(options.out / "data")
        options.data = manifest.parent
        options.networks = 2
        settings = ["training.budget=null", "training.steps=25", "prepare.num_folds=3"]
        settings += ["plan.patch_size=[64,64]", "plan.batch_size=4"]
    elif options.data is None:
        raise SystemExit("name the folder of the data set with --data, or try --smoke")

    # Train, and choose on the fold that all hold out how cells are cut apart.
    config = read_config(
        ROOT / "configs" / "nuclei_2d.yaml", [f"data={manifest}", *settings]
    )
    trained = train_ensemble(
        config,
        options.out / "networks",
        networks=options.networks,
        only=options.only,
        device=options.device,
        progress=console,
    )
    if trained.evaluation is None:
        return

    # The test split, as a user would segment it: once, at the very end.
    dataset = load_dataset(manifest, root=options.data)
    tested = score_test_split(
        trained.folder,
        dataset,
        options.out / "test",
        settings=config.inference,
        metrics=config.metrics,
        device=options.device,
        progress=console,
    )

    stains = pd.read_csv(manifest).set_index("case_id")["modality"]
    parts = {"test": tested, "held-out fold": trained.evaluation}
    table = pd.concat([by_stain(e, stains, part) for part, e in parts.items()])
    table.to_csv(options.out / "stains.csv", index=False, float_format="%.4f")
    print(table.round(3).to_string(index=False))
    print(f"test       {options.out / 'test' / 'report.html'}")
    print(f"training   {trained.folder / 'report.html'}")
    print(f"tracking   medseg ui {options.out}")
    print(f"longest    {trained.spent.describe()}")


def by_stain(evaluation: Evaluation, stains: pd.Series, part: str) -> pd.DataFrame:
    """Means over the pictures of each stain, F1 and counts over all their nuclei.

    Intervals are over groups: neighbouring tiles of one picture are no two pictures.
    """
    pictures = evaluation.objects.assign(
        stain=evaluation.objects["case_id"].map(stains)
    )
    by = pictures.groupby("stain")
    means = by[[name for name in COLUMNS if name in pictures]].mean()
    sums = by[["found_0.5", "invented_0.5", "missed_0.5", "num_reference"]].sum()
    errors = sums["invented_0.5"] + sums["missed_0.5"]
    means["f1_0.5"] = 2 * sums["found_0.5"] / (2 * sums["found_0.5"] + errors)
    means["nuclei"] = sums["num_reference"]
    means["counted"] = by["num_predicted"].sum()
    for name in WITH_INTERVAL:
        ends = [
            mean_interval(rows[name].to_numpy(), groups=rows["patient_id"].tolist())
            for _, rows in by
        ]
        means[f"{name}_low"], means[f"{name}_high"] = zip(*ends, strict=True)
    means.insert(0, "pictures", by.size())
    means.insert(1, "groups", by["patient_id"].nunique())
    return means.reset_index().assign(part=part)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="folder with images and labels")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--networks", type=int, default=1, help="predict together")
    parser.add_argument("--only", type=int, nargs="+", help="train these networks, end")
    parser.add_argument("--budget", default="60m", help="training time of each network")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--smoke", action="store_true", help="two minutes, no data")
    return parser.parse_args()


if __name__ == "__main__":
    run_to_end(main)
