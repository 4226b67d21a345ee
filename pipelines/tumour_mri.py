"""Low-grade glioma in MR, as FLAIR slices or as stacks of three sequences.

    python pipelines/tumour_mri.py --data GLIOMA_2D --dims 2 --out study --budget 20m
    python pipelines/tumour_mri.py --data GLIOMA_3D --dims 3 --out study --budget 20m
    python pipelines/tumour_mri.py --out smoke --smoke

Folds are the data set's own four, by patient. Slices of one patient are pooled before
scoring, since a patient has one tumour and not as many as slices; stacks are scored
lesion by lesion too. The slices all show tumour, so that false alarms in healthy ones
can be seen in the stacks alone.
"""

import argparse
from pathlib import Path

import pandas as pd

from medseg.console import Console
from medseg.datasets.tiny import make_tiny_study
from medseg.evaluation.bootstrap import mean_interval
from medseg.workflows.cross_validate import cross_validate
from medseg.workflows.run_config import read_config

ROOT = Path(__file__).parents[1]
CONFIGS = {2: "slices_2d.yaml", 3: "lesions_3d.yaml"}


def main() -> None:
    options = parse_options()
    settings = [f"training.budget={options.budget}", "training.epochs=null"]
    if options.smoke:
        settings = ["training.epochs=null", "training.steps=20"]
        settings += [f"data={make_tiny_study(options.out / 'data')}"]
        settings += ["prepare.num_folds=2"]
    elif options.data is None:
        raise SystemExit("name the folder of the data set with --data, or try --smoke")
    else:
        manifest = ROOT / "data_manifests" / f"glioma_{options.dims}d.yaml"
        settings += [f"data={manifest}", f"root={options.data}"]

    config = read_config(ROOT / "configs" / CONFIGS[options.dims], settings)
    result = cross_validate(
        config, options.out / "folds", device=options.device, progress=Console()
    )

    patients = dice_of_patients(result.evaluation.cases)
    patients.to_csv(options.out / "patients.csv", float_format="%.6g")
    for structure, scores in patients.items():
        low, high = mean_interval(scores.to_numpy())
        print(
            f"{structure}: Dice of {len(scores)} patients {scores.mean():.4f} "
            f"[{low:.4f}, {high:.4f}]"
        )
    print(f"pictures   {result.folder / 'report.html'}")
    print(f"tracking   medseg ui {options.out}")


def dice_of_patients(cases: pd.DataFrame) -> pd.DataFrame:
    """Dice of each patient with all their images taken as one; a column a structure."""
    total = cases["volume_ml"] + cases["reference_ml"]
    rows = cases.assign(total=total, both=cases["dice"].fillna(0) * total)
    sums = rows.groupby(["patient_id", "structure"])[["both", "total"]].sum()
    return (sums["both"] / sums["total"]).unstack("structure")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="folder with manifest.csv")
    parser.add_argument("--dims", type=int, choices=(2, 3), default=3)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--budget", default="20m", help="training time of each fold")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--smoke", action="store_true", help="two minutes, no data")
    return parser.parse_args()


if __name__ == "__main__":
    main()
