"""Brain tumours in MR: glioma as slices, as stacks of three sequences, and BraTS 2013.

    python pipelines/tumour_mri.py --study glioma_2d --data GLIOMA_2D --out slices
    python pipelines/tumour_mri.py --study glioma_3d --data GLIOMA_3D --out stacks
    python pipelines/tumour_mri.py --study brats2013 --data BRATS --out brats
    python pipelines/tumour_mri.py --out smoke --smoke

Folds are by patient. The images of a patient are pooled before scoring, since a patient
has one tumour and not as many as slices; tumours are scored lesion by lesion too. The
slices all show tumour, so that false alarms in healthy ones can be seen in the stacks
alone. BraTS has three overlapping regions, and two cases: it shows that everything
works, and is too small to learn from.

With --sequence-dropout 0.25 the network also learns scans that lack a sequence; what
each is worth is measured on held-out patients, with or without it.
"""

import argparse
from pathlib import Path

import pandas as pd

from medseg.console import Console, run_to_end
from medseg.evaluation.bootstrap import mean_interval
from medseg.reporting.content import NamedTable
from medseg.runs.config import read_config
from medseg.studies.cross_validate import CrossValidation, cross_validate
from medseg.studies.missing_channels import score_without_channels, summarize_absent
from medseg.testing.tiny_study import make_tiny_study

ROOT = Path(__file__).parents[1]
REGIONS = "[whole_tumour, tumour_core, enhancing_tumour]"
STUDIES = {
    "glioma_2d": ("glioma_2d.yaml", ["metrics.lesions=all"]),
    "glioma_3d": ("lesions_3d.yaml", []),
    "brats2013": ("lesions_3d.yaml", [f"metrics.lesions={REGIONS}"]),
}


def main() -> None:
    options = parse_options()
    console = Console()
    console.log_to(options.out / "study.log")
    name, settings = STUDIES[options.study]
    length = f"steps={options.steps}" if options.steps else f"budget={options.budget}"
    settings = [*settings, "training.epochs=null", f"training.{length}"]
    if options.smoke:
        data = make_tiny_study(options.out / "data", num_channels=2)
        name, settings = "lesions_3d.yaml", ["training.epochs=null"]
        settings += [f"data={data}", "training.steps=20", "prepare.num_folds=2"]
    elif options.data is None:
        raise SystemExit("name the folder of the data set with --data, or try --smoke")
    else:
        manifest = ROOT / "data_manifests" / f"{options.study}.yaml"
        settings += [f"data={manifest}", f"root={options.data}"]
    if options.study == "brats2013":
        settings += ["prepare.num_folds=2"]
    if options.sequence_dropout:
        dropout = f"training.augmentation.channel_dropout={options.sequence_dropout}"
        settings += [dropout]

    def tables(result: CrossValidation) -> list[NamedTable]:
        """Patients; and what happens where a sequence is missing."""
        found = [patients(result)]
        if len(result.store.plan.channels) > 1:
            cases = score_without_channels(
                result, device=options.device, progress=console
            )
            found += [
                NamedTable(
                    "Dice where a sequence is missing",
                    summarize_absent(cases),
                    "It reads as zero. predict refuses such scans, unless the model "
                    "was trained with --sequence-dropout.",
                    "missing.csv",
                ),
                NamedTable("Every case without", cases, file="missing_cases.csv"),
            ]
        return found

    config = read_config(ROOT / "configs" / name, settings)
    result = cross_validate(
        config,
        options.out / "folds",
        folds=options.folds,
        tables=tables,
        device=options.device,
        progress=console,
    )
    print(result.closing())


def patients(result: CrossValidation) -> NamedTable:
    """Dice of patients, all images of each taken as one: fold by fold, and of all."""
    cases = result.evaluation.cases
    total = cases["volume_ml"] + cases["reference_ml"]
    rows = cases.assign(total=total, both=cases["dice"].fillna(0) * total)
    sums = rows.groupby(["structure", "patient_id"], sort=False)[["both", "total"]]
    dice = (sums.sum()["both"] / sums.sum()["total"]).rename("dice").reset_index()
    runs = {result.store.patients[case]: run.name for run, case in result.held_out()}
    dice["fold"] = dice["patient_id"].map(runs)
    found = []
    for structure, part in dice.groupby("structure", sort=False):
        for fold, scores in [*part.groupby("fold")["dice"], ("all", part["dice"])]:
            low, high = mean_interval(scores.to_numpy())
            found.append(
                {
                    "structure": structure,
                    "fold": fold,
                    "patients": len(scores),
                    "mean": scores.mean(),
                    "ci_low": low,
                    "ci_high": high,
                    "median": scores.median(),
                    "worst": scores.min(),
                }
            )
    return NamedTable(
        "Dice of patients",
        pd.DataFrame(found),
        "All images of a patient are taken as one.",
        "patients.csv",
    )


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--study", choices=STUDIES, default="glioma_3d")
    parser.add_argument("--data", type=Path, help="folder with manifest.csv")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--budget", default="20m", help="training time of each fold")
    parser.add_argument("--steps", type=int, help="instead of a time")
    parser.add_argument("--folds", type=int, nargs="+", help="held out; all by default")
    parser.add_argument("--sequence-dropout", type=float, default=0.0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--smoke", action="store_true", help="two minutes, no data")
    return parser.parse_args()


if __name__ == "__main__":
    run_to_end(main)
