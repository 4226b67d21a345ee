"""The nuclei model that comes with medseg: trained, rounded, scored, packed.

    python pipelines/nuclei_starter.py --data NUCLEI --out study --clock cpu
    python pipelines/nuclei_starter.py --out smoke --smoke

Weights are rounded to half precision before anything is scored, so that what is scored
is what is shipped. The test split (data_manifests/nuclei.csv) takes no part in any
choice: weights come from nine tenths of the other groups, the thresholds that cut cells
apart from the last tenth. Without test-time flips, which take four times the time: who
wants smoother outlines turns them on. Stopped at any moment, the same command
continues; the model folder is study/nuclei, and goes to medseg/starters.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import pandas as pd
from nuclei_microscopy import by_stain

from medseg.ancestry import read_trained_on
from medseg.console import Console, run_to_end
from medseg.datasets import Case, load_dataset
from medseg.datasets.description import read_description
from medseg.model import load_model, save_model
from medseg.prediction.segmentation_model import SegmentationModel
from medseg.runs.config import read_config
from medseg.runs.finish import is_finished
from medseg.runs.train import train
from medseg.scoring.test_split import score_test_split
from medseg.testing.tiny_cells import make_tiny_cells

ROOT = Path(__file__).parents[1]
SHOWN = ("pictures", "groups", "ap_0.5", "ap_0.75", "ap_0.9", "f1_0.5", "nuclei")


def main() -> None:
    options = parse_options()
    console = Console()
    console.log_to(options.out / "study.log")
    manifest = ROOT / "data_manifests" / "nuclei.csv"
    settings = [f"training.budget={options.budget}", f"root={options.data}"]
    settings += [f"training.clock={options.clock}", "inference.flips=false"]
    if options.smoke:
        manifest = make_tiny_cells(options.out / "data")
        options.data = manifest.parent
        settings = ["training.budget=null", "training.steps=25", "prepare.num_folds=3"]
        settings += ["inference.flips=false"]
        settings += ["plan.patch_size=[64,64]", "plan.batch_size=4"]
    elif options.data is None:
        raise SystemExit("name the folder of the data set with --data, or try --smoke")

    config = read_config(
        ROOT / "configs" / "nuclei_2d.yaml", [f"data={manifest}", *settings]
    )
    run, starter = options.out / "run", options.out / "nuclei"
    if not is_finished(run):
        train(config, run, device=options.device, resume=True, progress=console)
    halve(run / "model", starter)

    dataset = load_dataset(manifest, root=options.data)
    tested = score_test_split(
        starter,
        dataset,
        options.out / "test",
        settings=config.inference,
        metrics=config.metrics,
        device=options.device,
        progress=console,
    )
    stains = pd.read_csv(manifest).set_index("case_id")["modality"]
    table = by_stain(tested, stains, "test")
    table.to_csv(options.out / "stains.csv", index=False, float_format="%.4f")
    took = processor_seconds(starter, dataset.test_cases, device=options.device)
    note(starter / "card.md", manifest.with_suffix(".yaml"), table, *took)
    print(table.round(3).to_string(index=False))
    size = sum(file.stat().st_size for file in starter.iterdir())
    print(f"{size / 1e6:.1f} MB in {starter}")


def halve(model_folder: Path, out: Path) -> None:
    """The same model with its weights in half precision."""
    model = load_model(model_folder)
    save_model(
        out,
        model.network,
        model.plan,
        model.provenance,
        postprocessing=model.postprocessing,
        decoding=model.decoding,
        flips=model.flips,
        windows=model.windows,
        seen=read_trained_on(model_folder),
        ranges=model.ranges,
        half=True,
    )


def processor_seconds(
    model_folder: Path, cases: Sequence[Case], *, device: str
) -> tuple[float, str]:
    """Processor time of a picture, the median, of all cores together; the engine."""
    model = SegmentationModel.load(model_folder, device=device)
    taken = []
    for case in cases:
        start = time.process_time()
        model.predict(case.images, notes=[])
        taken.append(time.process_time() - start)
    return median(taken), model.engine


def note(
    card: Path, data: Path, table: pd.DataFrame, seconds: float, engine: str
) -> None:
    """Adds to a card whose pictures these were, and how the weights scored."""
    described = read_description(data)
    names = [name for name in SHOWN if name in table]
    lines = ["| stain | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for _, row in table.iterrows():
        cells = [f"{row[n]:.3f}" if "0." in n else f"{row[n]:.0f}" for n in names]
        lines.append(f"| {row['stain']} | " + " | ".join(cells) + " |")
    text = "\n".join(lines)
    with card.open("a", encoding="utf-8") as file:
        file.write(
            f"""
Data: {described.source}, licence {described.licence or "not stated"};
{described.citation}; checksums in `data_manifests/{described.checksums}`.

Scores of these weights, rounded to half precision, on groups of pictures that took part
in no choice (the test split of the data's table; AP is TP / (TP + FP + FN) of a picture
at an IoU, the mean of pictures):

{text}

The median of these pictures takes {seconds:.2f} s of processor time ({engine}).
"""
        )


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="folder with images and labels")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--budget", default="28m", help="training time")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--smoke", action="store_true", help="two minutes, no data")
    return parser.parse_args()


if __name__ == "__main__":
    run_to_end(main)
