"""What the check of plausibility catches, and how often it raises a false alarm.

    python benchmarks/plausibility.py DATA -o OUT            a table
    python benchmarks/plausibility.py DATA -o OUT --json     a row per disturbance

DATA holds the folders ``hippocampus``, ``glioma_3d``, ``nuclei`` and, for scans of
other kinds, ``brats2013``, ``radiomics_cases``, ``dicom``, ``em_membrane``. Ranges are
those of two thirds of the patients; scans of the other third are judged as they are
(false alarms) and disturbed in ways whose answer is known. Without ``--steps`` nothing
is trained, and scans are judged by themselves; with it a small model is trained, and
what it finds is judged, too.
"""

import argparse
import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe_machine, print_rows

import medseg
from medseg.geometry import affine_from_spacing
from medseg.io import read_volume
from medseg.plausibility.finding_measures import measure_findings
from medseg.plausibility.fitting import MeasuredRun, fit_ranges
from medseg.plausibility.judgement import profiles_of, spell_out
from medseg.plausibility.scan_measures import measure_scan
from medseg.prediction.segmentation_model import SegmentationModel
from medseg.testing.phantom_head import load_template
from medseg.training_ranges import FILE
from medseg.types import ImageArray
from medseg.volume import Volume

MOST_PREDICTED = 3_000_000
"""Larger scans are judged by themselves, without a prediction."""
HALF = np.diag([2.0, 2.0, 2.0, 1.0])
Judge = Callable[[Volume], "Verdict"]
Disturb = Callable[[Volume], Volume | None]


@dataclass(frozen=True)
class Verdict:
    """Why a scan is suspect.

    Attributes:
        doubts: By everything that was measured.
        by_findings: By what a model found in it alone; None where nothing was sought.
    """

    doubts: tuple[str, ...]
    by_findings: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Row:
    """A case of a data set."""

    case_id: str
    patient: str
    image: str
    label: str


@dataclass(frozen=True)
class Study:
    """A data set, and what is done to its scans.

    Attributes:
        name: Its folder below DATA.
        head: Of its manifest.
        rows: Its cases.
        disturbances: What is done to unseen scans, by name.
        patch: Voxels of a training patch.
        foreign: Scans of another kind, by name.
    """

    name: str
    head: Mapping[str, Any]
    rows: Sequence[Row]
    disturbances: Mapping[str, Disturb]
    patch: tuple[int, ...]
    foreign: Mapping[str, Sequence[Volume]] = field(default_factory=dict)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path, help="folder of the data sets")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument(
        "--only", nargs="+", default=["hippocampus", "glioma", "nuclei"]
    )
    parser.add_argument("--steps", type=int, default=0, help="of a training; 0: none")
    parser.add_argument("--most", type=int, default=20, help="unseen scans of each")
    parser.add_argument("--patients", type=int, default=90, help="of each data set")
    parser.add_argument("--json", action="store_true", help="one object per row")
    options = parser.parse_args()
    studies = {"hippocampus": hippocampus, "glioma": glioma, "nuclei": nuclei}
    machine = describe_machine()
    for name in options.only:
        study = studies[name](options.data)
        for row in run(study, options.data / study.name, options):
            if options.json:
                print_rows([row], machine=machine)
            else:
                found = "{by findings} of {of sought}" if "finding" in row else ""
                line = "| {study} | {what} | {caught} of {of} | " + found + " |"
                print(line.format(**row), flush=True)


def run(
    study: Study, root: Path, options: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    """Judges unseen scans; a row for each kind."""
    known, unseen = split(study.rows, most=options.patients)
    folder = options.out / study.name
    manifest = write_manifest(folder, study, known)
    if options.steps:
        judge_one, says = trained_judge(manifest, study, root, folder, options.steps)
    else:
        judge_one, says = scan_judge(manifest, root, folder)
    yield {"study": study.name, "what": says, "caught": "", "of": ""}
    scans = [read_volume(root / row.image) for row in unseen[: options.most]]
    kinds: dict[str, Sequence[Volume | None]] = {"as it is (false alarms)": scans}
    for name, disturb in study.disturbances.items():
        kinds[name] = [disturb(scan) for scan in scans]
    for name, volumes in {**kinds, **study.foreign}.items():
        yield {
            "study": study.name,
            "what": name,
            **summary([judge_one(v) for v in volumes if v is not None]),
        }


def summary(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """How many scans are suspect, by everything and by findings alone."""
    doubts = [one.doubts for one in verdicts]
    found = [v.by_findings for v in verdicts if v.by_findings is not None]
    row: dict[str, Any] = {
        "caught": sum(map(bool, doubts)),
        "of": len(doubts),
        "example": next((one[0] for one in doubts if one), ""),
    }
    if found:
        row |= {
            "by findings": sum(map(bool, found)),
            "of sought": len(found),
            "finding": next((one[0] for one in found if one), ""),
        }
    return row


def scan_judge(manifest: Path, root: Path, folder: Path) -> tuple[Judge, str]:
    """Judges by the scan alone, with ranges of the prepared cases; no network."""
    store = medseg.prepare(manifest, folder / "store", root=root, progress=False)
    scans = {
        case: measure_scan(read_volume(store.images(case)), store.plan)
        for case in store.case_ids
    }
    ranges = fit_ranges(MeasuredRun(store.patients, scans, {}, {}))
    typical = profiles_of(ranges)

    def judge(volume: Volume) -> Verdict:
        measures = measure_scan(volume, store.plan).against(typical)
        return Verdict(spell_out(measures, ranges.ranges, ranges.limits))

    return judge, ranges.describe()


def trained_judge(
    manifest: Path, study: Study, root: Path, folder: Path, steps: int
) -> tuple[Judge, str]:
    """Judges by the scan and what a small model that was trained for it finds."""
    if not (folder / "run" / "model" / FILE).is_file():
        network = {"name": "unet", "channels": [8, 16, 32], "strides": [1, 2, 2]}
        config = {
            "plan": {"patch_size": study.patch, "batch_size": 4, "network": network},
            "training": {"steps": steps},
            "tracking": {"enabled": False},
        }
        medseg.train(
            manifest, out=folder / "run", root=root, config=config, device="cpu",
            resume=(folder / "run").is_dir(), progress=False,
        )  # fmt: skip
    model = SegmentationModel.load(folder / "run", device="cpu")
    ranges = model.saved.ranges
    assert ranges is not None

    def judge(volume: Volume) -> Verdict:
        scan = measure_scan(volume, model.saved.plan).against(profiles_of(ranges))
        if volume.voxels[0].size > MOST_PREDICTED:
            return Verdict(spell_out(scan, ranges.ranges, ranges.limits))
        found = measure_findings(model.segment(volume), model.saved.plan)
        only = {"findings": ranges.limits["findings"]}
        return Verdict(
            spell_out({**scan, **found}, ranges.ranges, ranges.limits),
            spell_out(found, ranges.ranges, only),
        )

    return judge, ranges.describe()


def split(rows: Sequence[Row], *, most: int) -> tuple[list[Row], list[Row]]:
    """Two thirds of the patients, and one case of each other patient."""
    patients = sorted({row.patient for row in rows})
    patients = patients[:: max(1, len(patients) // most)][:most]
    kept = {p for n, p in enumerate(patients) if n % 3}
    others = {row.patient: row for row in rows if row.patient in set(patients) - kept}
    return [row for row in rows if row.patient in kept], list(others.values())


def write_manifest(folder: Path, study: Study, rows: Sequence[Row]) -> Path:
    """The manifest of the cases to train on."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{study.name}.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["case_id", "patient_id", "image", "label"])
        writer.writerows([r.case_id, r.patient, r.image, r.label] for r in rows)
    path = folder / f"{study.name}.yaml"
    path.write_text(json.dumps({"name": study.name, **study.head}))
    return path


# --- the data sets --------------------------------------------------------------------


def hippocampus(data: Path) -> Study:
    rows = [
        Row(
            case,
            row["subject"],
            f"imagesTr/{case}.nii.gz",
            f"labelsTr/{case}.nii.gz",
        )
        for row in table(data / "hippocampus" / "cases.csv")
        for case in [row["id"]]
    ]
    heads = [*sorted((data / "brats2013" / "images").glob("*.nii.gz"))]
    heads += [data / "dicom" / "mr_sagittal" / "reference.nii.gz"]
    heads += sorted((data / "radiomics_cases").glob("brain*_image.nrrd"))
    bodies = ["breast1", "prostate_phantom"]
    template = load_template()
    halved = Volume(template.maps[0][None, ::2, ::2, ::2], template.affine @ HALF)
    return Study(
        "hippocampus",
        {"labels": {"anterior": 1, "posterior": 2}, "channels": ["MRI"]},
        rows,
        {
            "contrast inverted": changed(inverted),
            "0.3 x 0.3 x 10 mm": regridded,
            "upside down": changed(lambda v: v[..., ::-1]),
            "noise": changed(noise),
        },
        (32, 32, 32),
        {
            "whole heads": [read_volume(path) for path in heads],
            "template of a whole head, 2 mm": [halved],
            "breast, prostate": [
                read_volume(data / "radiomics_cases" / f"{name}_image.nrrd")
                for name in bodies
            ],
        },
    )


def glioma(data: Path) -> Study:
    rows = [
        Row(row["patient"], row["patient"], row["image"], row["label"])
        for row in table(data / "glioma_3d" / "manifest.csv")
    ]
    crops = sorted((data / "hippocampus" / "imagesTr").glob("*.nii.gz"))[:10]
    return Study(
        "glioma_3d",
        {"labels": {"tumour": 1}, "channels": ["T1", "FLAIR", "T1c"]},
        rows,
        {
            "T1 and FLAIR swapped": reordered(1, 0, 2),
            "FLAIR and T1c swapped": reordered(0, 2, 1),
            "T1 and T1c swapped": reordered(2, 1, 0),
            "FLAIR, T1c, T1": reordered(1, 2, 0),
            "contrast inverted": changed(inverted),
            "FLAIR inverted": changed(lambda v: np.stack([v[0], inverted(v)[1], v[2]])),
            "0.3 x 0.3 x 10 mm": regridded,
            "front to back": changed(lambda v: v[:, :, ::-1]),
            "noise": changed(noise),
        },
        (32, 32, 16),
        {"hippocampus crops": [repeated(read_volume(path), 3) for path in crops]},
    )


def nuclei(data: Path) -> Study:
    folder = data / "nuclei"
    found = table(folder / "manifest.csv")
    rows = [
        Row(row["id"], row["group"], row["image"], row["label"])
        for row in found
        if row["modality"] == "fluorescence"
    ]

    def of(modality: str) -> list[Volume]:
        chosen = [row for row in found if row["modality"] == modality][:10]
        return [first_channel(read_volume(folder / row["image"])) for row in chosen]

    membranes = sorted((data / "em_membrane" / "images").glob("*.png"))[:10]
    return Study(
        "nuclei",
        {"labels": {"nucleus": 1}, "instances": True, "channels": ["grey"]},
        rows,
        {"contrast inverted": changed(inverted), "noise": changed(noise)},
        (96, 96),
        {
            "brightfield": of("brightfield"),
            "purple stain": of("purple_stain"),
            "electron microscopy": [first_channel(read_volume(p)) for p in membranes],
        },
    )


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


# --- what is done to scans ------------------------------------------------------------


def changed(change: Callable[[ImageArray], ImageArray]) -> Disturb:
    return lambda scan: Volume(np.ascontiguousarray(change(scan.voxels)), scan.affine)


def inverted(voxels: ImageArray) -> ImageArray:
    values = voxels.astype(np.float32)
    return np.asarray(values.max(axis=(1, 2, 3), keepdims=True) - values)


def noise(voxels: ImageArray) -> ImageArray:
    return np.random.default_rng(0).normal(100, 20, voxels.shape).astype(np.float32)


def regridded(scan: Volume) -> Volume:
    return Volume(scan.voxels, affine_from_spacing((0.3, 0.3, 10.0), (1, 1, 1)))


def reordered(*order: int) -> Disturb:
    """The channels in another order; None where two of them are the same."""

    def disturb(scan: Volume) -> Volume | None:
        moved = [n for n, old in enumerate(order) if n != old]
        a, b = scan.voxels[moved[0]], scan.voxels[moved[-1]]
        if np.array_equal(a, b):
            return None
        return Volume(np.ascontiguousarray(scan.voxels[list(order)]), scan.affine)

    return disturb


def repeated(scan: Volume, times: int) -> Volume:
    return Volume(np.repeat(scan.voxels, times, axis=0), scan.affine)


def first_channel(scan: Volume) -> Volume:
    return Volume(scan.voxels[:1], scan.affine)


if __name__ == "__main__":
    main()
