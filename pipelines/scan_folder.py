"""A model, a folder of anything, and a table of volumes at the end.

    python pipelines/scan_folder.py --model runs/liver --data SCANS --out segmented
    python pipelines/scan_folder.py --out smoke --smoke

Every scan gets a line: segmented, set aside or failed, with the reason. A second call
does only what is new or has changed.
"""

import argparse
from pathlib import Path

import pandas as pd

from medseg.console import Console, run_to_end
from medseg.prediction.ensemble import load_ensemble
from medseg.prediction.folder_report import (
    track_predictions,
    write_prediction_mosaic,
)
from medseg.prediction.predict import predict
from medseg.prediction.records import DONE, TABLE, UNCHANGED
from medseg.runs.config import RunConfig
from medseg.runs.time_spent import TimeSpent
from medseg.runs.train import train
from medseg.testing.tiny_study import make_tiny_study


def main() -> None:
    options = parse_options()
    model, scans = options.model, options.data
    if options.smoke:
        model, scans = small_model(options.out, options.device)
    if model is None or scans is None:
        raise SystemExit("name --model and --data, or try --smoke")

    results = predict(
        model,
        scans,
        options.out / "label_maps",
        device=options.device,
        progress=Console(),
    )

    # One row per scan and structure, ready for a spreadsheet.
    done = [result for result in results if result.status in (DONE, UNCHANGED)]
    volumes = pd.DataFrame(
        [
            {"scan": result.scan, "structure": name, "ml": volume}
            for result in done
            for name, volume in result.volumes_ml.items()
        ]
    )
    volumes.to_csv(options.out / "volumes.csv", index=False, float_format="%.3f")
    if len(volumes):
        print(volumes.groupby("structure")["ml"].describe().round(2).to_string())
    for result in results:
        if result not in done:
            print(f"{result.scan}: {result.status}: {result.reason}")

    # Without references, what to look at first are the smallest and largest findings.
    mosaic = options.out / "mosaic.png"
    files = [options.out / "volumes.csv", options.out / "label_maps" / TABLE]
    plan = load_ensemble(model).combined.plan
    if write_prediction_mosaic(
        mosaic,
        results,
        scans=scans,
        label_maps=options.out / "label_maps",
        scheme=plan.labels,
        channels=plan.channel_names,
    ):
        files.append(mosaic)
    track_predictions(options.out, results, files, params={"model": model.name})

    spent = TimeSpent({result.scan: result.seconds for result in results})
    print(f"{len(done)} of {len(results)} scans")
    print(f"table      {options.out / 'volumes.csv'}")
    print(f"mosaic     {mosaic}")
    print(f"tracking   medseg ui {options.out.resolve().parent}")
    print(f"longest    {spent.describe()}")


def small_model(out: Path, device: str) -> tuple[Path, Path]:
    """A model trained for twenty steps, and the scans it was trained on."""
    data = make_tiny_study(out / "data")
    run = out / "runs" / "small"
    if not (run / "model").exists():
        settings = {"data": data, "fold": None, "training": {"steps": 20}}
        train(RunConfig.model_validate(settings), run, device=device)
    return run, data / "imagesTr"


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", type=Path, help="model folder, or a run")
    parser.add_argument("--data", type=Path, help="a tree of scans and anything else")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--smoke", action="store_true", help="two minutes, no data")
    return parser.parse_args()


if __name__ == "__main__":
    run_to_end(main)
