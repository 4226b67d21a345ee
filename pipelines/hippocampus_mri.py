"""Hippocampus in T1 MR: five folds by subject, every case scored out of fold.

    python pipelines/hippocampus_mri.py --data Task04_Hippocampus --out study
    python pipelines/hippocampus_mri.py --out smoke --smoke

Stopped at any moment, the same command continues. The five models then predict as one:

    medseg predict study/folds NEW_SCANS -o segmented
"""

import argparse
from pathlib import Path

from medseg.console import Console, run_to_end
from medseg.datasets.doctor import examine
from medseg.runs.config import read_config
from medseg.studies.cross_validate import cross_validate
from medseg.testing.tiny_study import make_tiny_study

CONFIG = Path(__file__).parents[1] / "configs" / "hippocampus_3d.yaml"


def main() -> None:
    options = parse_options()
    console = Console()
    console.log_to(options.out / "study.log")

    # A few steps on simulated crops show that everything works.
    data, settings = options.data, [f"training.budget={options.budget}"]
    if options.smoke:
        data = make_tiny_study(options.out / "data")
        settings = ["training.budget=null", "training.steps=20"]
        settings += ["prepare.num_folds=2"]
    if data is None:
        raise SystemExit("name the data set with --data, or try --smoke")

    # What is wrong with the data is known before it costs an hour.
    print(examine(data, progress=console).verdict)

    # All crops of a subject fall into one fold: nobody is trained and tested on.
    config = read_config(CONFIG, [f"data={data}", *settings])
    result = cross_validate(
        config, options.out / "folds", device=options.device, progress=console
    )

    # Structures, then where to look further.
    print(result.closing())
    print(f"ensemble   medseg predict {result.folder} NEW_SCANS -o segmented")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="MSD Task04_Hippocampus")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--budget", default="15m", help="training time of each fold")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--smoke", action="store_true", help="two minutes, no data")
    return parser.parse_args()


if __name__ == "__main__":
    run_to_end(main)
