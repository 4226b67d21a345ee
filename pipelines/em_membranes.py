"""Cell membranes in electron microscopy: the task of the original U-Net.

    python pipelines/em_membranes.py --data EM_MEMBRANE --out study --budget 8m
    python pipelines/em_membranes.py --data EM_MEMBRANE --out plain --weight-map off \
        --folds 0 --steps 1000
    python pipelines/em_membranes.py --out smoke --smoke

Folds are blocks of the stack. What counts is not each pixel but whether cells are kept
apart and whole: V_Rand and V_Info after thinning, as in the ISBI 2012 challenge, at the
threshold that the label maps have and at the best one.
"""

import argparse
from pathlib import Path

from medseg.console import Console, run_to_end
from medseg.reporting.content import NamedTable
from medseg.runs.config import read_config
from medseg.studies.cross_validate import CrossValidation, cross_validate
from medseg.studies.membranes import best_thresholds, score_held_out_membranes
from medseg.testing.tiny_study import make_tiny_membranes

ROOT = Path(__file__).parents[1]


def main() -> None:
    options = parse_options()
    console = Console()
    console.log_to(options.out / "study.log")
    data = ROOT / "data_manifests" / "em_membrane.yaml"
    settings = [f"training.budget={options.budget}", f"root={options.data}"]
    if options.steps:
        settings += ["training.budget=null", f"training.steps={options.steps}"]
    if options.smoke:
        data = make_tiny_membranes(options.out / "data")
        settings = ["training.budget=null", "training.steps=20", "prepare.num_folds=2"]
    elif options.data is None:
        raise SystemExit("name the folder of the data set with --data, or try --smoke")

    # The weight map counts pixels between touching cells up to eleven times.
    if options.weight_map == "off":
        settings.append("training.loss={name: dice_ce}")
    if options.elastic == "off":
        settings.append("training.augmentation.elastic_probability=0")

    def cells(result: CrossValidation) -> list[NamedTable]:
        """Every held-out slice by its cells, at each threshold; then the means."""
        slices = score_held_out_membranes(result, device=options.device)
        return [
            NamedTable(
                "Cells kept apart and whole, after thinning (mean of slices)",
                best_thresholds(slices),
                "V_Rand and V_Info are 1 at best. The challenge reports the best "
                "threshold, chosen on the slices it scores; 0.5 is what predict does.",
                "membranes.csv",
            ),
            NamedTable("Every slice", slices, file="membranes_of_slices.csv"),
        ]

    config = read_config(ROOT / "configs" / "em_2d.yaml", [f"data={data}", *settings])
    result = cross_validate(
        config,
        options.out / "folds",
        folds=options.folds,
        tables=cells,
        device=options.device,
        progress=console,
    )
    print(result.closing())


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="folder with images and labels")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--budget", default="8m", help="training time of each fold")
    parser.add_argument("--steps", type=int, help="instead of a time")
    parser.add_argument("--folds", type=int, nargs="+", help="blocks held out; all")
    parser.add_argument("--weight-map", choices=("on", "off"), default="on")
    parser.add_argument("--elastic", choices=("on", "off"), default="on")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--smoke", action="store_true", help="two minutes, no data")
    return parser.parse_args()


if __name__ == "__main__":
    run_to_end(main)
