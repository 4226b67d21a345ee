"""What the check of plausibility catches for a model of nuclei in fluorescence.

    python benchmarks/plausibility_nuclei.py NUCLEI -o OUT [--model nuclei]

NUCLEI is the data set of data_manifests/nuclei.csv. Scans' and references' ranges are
those of fluorescence pictures of its training split, each one of another group. What
the model finds in one picture of each group of half of the test split calibrates the
limits of findings; pictures of the other half are judged, as they are (false alarms)
and in ways whose answer is known. The built-in model, which keeps no ranges, has seen
the training split and none of the test split.
"""

import argparse
import csv
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from machine import describe_machine, print_rows
from plausibility import Verdict, inverted, summary

import medseg
from medseg.io import read_label_map, read_volume
from medseg.plan import Plan
from medseg.plausibility.finding_measures import measure_findings
from medseg.plausibility.fitting import MeasuredRun, fit_ranges
from medseg.plausibility.judgement import profiles_of, spell_out
from medseg.plausibility.scan_measures import measure_scan
from medseg.training_ranges import TrainingRanges
from medseg.types import ImageArray
from medseg.volume import Volume

MANIFEST = Path(__file__).parents[1] / "data_manifests" / "nuclei.csv"
STAIN = "fluorescence"
CHANNEL = "grey"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path, help="folder of the pictures")
    parser.add_argument("--model", default="nuclei", help="folder, or built-in name")
    parser.add_argument("--most", type=int, default=40, help="pictures of a kind")
    options = parser.parse_args()
    model = medseg.load_model(options.model, device="cpu")
    plan = model.saved.plan
    rows = list(csv.DictReader(MANIFEST.read_text().splitlines()))
    known = one_of_each_group(rows, "train")
    tried = [row for row in rows if row["split"] == "test" and row["modality"] == STAIN]
    groups = sorted({row["group"] for row in tried})
    calibrating = one_of_each_group(
        [row for row in tried if row["group"] in groups[::2]], "test"
    )
    read = lambda row: read_volume(options.data / row["image"])  # noqa: E731
    ranges = fit_ranges(
        MeasuredRun(
            patients={r["case_id"]: r["group"] for r in (*known, *calibrating)},
            scans={r["case_id"]: measure_scan(read(r), plan) for r in known},
            references={
                r["case_id"]: measure_findings(
                    read_label_map(options.data / r["label"]), plan
                )
                for r in known
            },
            predictions={
                r["case_id"]: measure_findings(model.segment(read(r)), plan)
                for r in calibrating
            },
        )
    )
    machine = describe_machine()
    print_rows([{"what": ranges.describe(), "groups": len(known)}], machine=machine)
    judged = [row for row in tried if row["group"] in groups[1::2]][: options.most]
    pictures = {"as it is (false alarms)": [read(row) for row in judged]}
    for name, change in CHANGES.items():
        pictures[name] = [
            changed(volume, change) for volume in pictures["as it is (false alarms)"]
        ]
    for stain in ("brightfield", "purple_stain"):
        chosen = [row for row in rows if row["modality"] == stain][:10]
        pictures[stain] = [read(row) for row in chosen]
    for name, volumes in pictures.items():
        verdicts = [judge(volume, model, plan, ranges) for volume in volumes]
        print_rows([{"what": name, **summary(verdicts)}], machine=machine)


def one_of_each_group(rows: list[dict[str, str]], split: str) -> list[dict[str, str]]:
    """The first fluorescence picture of each group of a split."""
    chosen = {
        row["group"]: row
        for row in reversed(rows)
        if row["split"] == split and row["modality"] == STAIN
    }
    return list(chosen.values())


def judge(
    volume: Volume, model: medseg.Model, plan: Plan, ranges: TrainingRanges
) -> Verdict:
    """By everything, and by findings alone."""
    scan = measure_scan(volume, plan).against(profiles_of(ranges))
    found = measure_findings(model.segment(volume), plan)
    limits = {"findings": ranges.limits["findings"]}
    return Verdict(
        spell_out({**scan, **found}, ranges.ranges, ranges.limits),
        spell_out(found, ranges.ranges, limits),
    )


def changed(volume: Volume, change: Callable[[ImageArray], ImageArray]) -> Volume:
    return Volume(np.ascontiguousarray(change(volume.voxels)), volume.affine)


def quarter(voxels: ImageArray) -> ImageArray:
    """Means of 4 x 4 pixels."""
    channels, rows, columns, depth = voxels.shape
    rows, columns = rows // 4, columns // 4
    cut = voxels[:, : 4 * rows, : 4 * columns].astype(np.float32)
    tiles = cut.reshape(channels, rows, 4, columns, 4, depth)
    return np.asarray(tiles.mean(axis=(2, 4)).astype(voxels.dtype))


def fourfold(voxels: ImageArray) -> ImageArray:
    """The middle of the picture, four times as large."""
    rows, columns = (size // 4 for size in voxels.shape[1:3])
    middle = voxels[:, rows : 2 * rows, columns : 2 * columns]
    return np.asarray(middle.repeat(4, axis=1).repeat(4, axis=2))


def empty(voxels: ImageArray) -> ImageArray:
    """Background and the camera's noise, no cell."""
    noise = np.random.default_rng(0).poisson(6.0, voxels.shape[:3])
    return np.asarray(noise[..., None].astype(voxels.dtype).clip(0, 255))


def noise(voxels: ImageArray) -> ImageArray:
    """Every pixel by chance."""
    values = np.random.default_rng(0).integers(0, 256, voxels.shape)
    return np.asarray(values.astype(voxels.dtype))


CHANGES: Mapping[str, Callable[[ImageArray], ImageArray]] = {
    "contrast inverted": lambda v: inverted(v).astype(v.dtype),
    "empty field (Poisson noise)": empty,
    "noise": noise,
    "at a quarter of the scale": quarter,
    "at four times the scale": fourfold,
}


if __name__ == "__main__":
    main()
