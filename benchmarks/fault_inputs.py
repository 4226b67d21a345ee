"""What the verbs are given: a small model and store, healthy scans, damaged files."""

import csv
import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from mutants import FORMATS, scan, write_nifti, write_series
from watched import watch

from medseg.io.identity import load_pseudonymizer

TORCH = ("--engine", "torch", "--precision", "float32", "--device", "cpu")
HEALTHY_UID = "1.2.826.0.1.3680043.8.498.9"
Results = Mapping[str, str]


@dataclass(frozen=True)
class Study:
    """Made once: a data set, a prepared store, a model of some steps.

    Attributes:
        folder: Holds everything.
        data: A data set of six cases.
        store: Prepared of it.
        config: A configuration without tracking.
        model: A model folder.
        key: Of the pseudonyms.
    """

    folder: Path
    data: Path
    store: Path
    config: Path
    model: Path
    key: Path

    @classmethod
    def make(cls, folder: Path) -> "Study":
        """Trains a small model in a folder."""
        data, store = data_set(folder / "data"), folder / "store"
        config = folder / "untracked.yaml"
        config.write_text("tracking: {enabled: false}\n")
        run = folder / "run"
        for call in (
            ("prepare", data, "-o", store, "--folds", 3, "--workers", 1, "-q"),
            ("train", config, "--data", store, "--fold", 0, "--steps", 10, "--device",
             "cpu", "-q", "-o", run),
        ):  # fmt: skip
            ended = watch(*call, log=folder / "log.txt")
            if ended.code != 0:
                raise SystemExit(
                    f"{call[0]}: exit code {ended.code}: {ended.text[-2000:]}"
                )
        return cls(folder, data, store, config, run / "model", folder / "key")


@dataclass(frozen=True)
class Call:
    """One call of a verb, and what it made of the healthy scans.

    Attributes:
        arguments: Of the command.
        results: Reads what came out, by name.
        kinds: Formats of damaged files that the verb is given.
        place: Where the damaged files of a call's folder lie.
        are_labels: Whether these are label maps.
    """

    arguments: tuple[object, ...]
    results: Callable[[], Results]
    kinds: tuple[str, ...] = FORMATS
    place: Callable[[Path], Path] = lambda folder: folder / "damaged"
    are_labels: bool = False


def data_set(folder: Path, num_cases: int = 6) -> Path:
    """A data set in nnU-Net's layout: a ball in each case."""
    for k in range(num_cases):
        image, ball = scan(k)
        write_nifti(folder / "imagesTr" / f"p{k:02d}_0000.nii.gz", image)
        write_nifti(folder / "labelsTr" / f"p{k:02d}.nii.gz", ball.astype(np.uint8))
    described = {
        "channel_names": {"0": "MR"},
        "labels": {"background": 0, "ball": 1},
        "numTraining": num_cases,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(described))
    return folder


def voxels_of(path: Path) -> str:
    """A hash of a NIfTI file's voxels; empty where there is none."""
    if not path.exists():
        return ""
    array = np.ascontiguousarray(nibabel.load(path).dataobj)
    return hashlib.sha256(array.tobytes()).hexdigest()[:16]


def _healthy_scans(folder: Path) -> Path:
    write_nifti(folder / "a_good.nii.gz", scan(2)[0])
    write_nifti(folder / "z_good.nii.gz", scan(3)[0])
    write_series(folder / "series", 4, HEALTHY_UID)
    return folder


def _voxels_below(folder: Path, study: Study) -> Results:
    """Of what came of the healthy scans: two volumes and a series."""
    series = load_pseudonymizer(study.key).name(f"{HEALTHY_UID}.1")
    names = ("a_good", "z_good", f"mr_{series}")
    return {name: voxels_of(folder / f"{name}.nii.gz") for name in names}


def convert(study: Study, folder: Path, mutants: Sequence[Path]) -> Call:
    """A folder of scans, with label objects of the healthy series."""
    tree = _healthy_scans(folder / "in")
    out = folder / "out"
    arguments = ("convert", tree, "-o", out, "--key", study.key, "-q")
    return Call(
        arguments,
        lambda: _voxels_below(out, study),
        place=lambda base: base / "in" / "damaged",
    )


def predict(study: Study, folder: Path, mutants: Sequence[Path]) -> Call:
    """The same, segmented."""
    tree = _healthy_scans(folder / "in")
    out = folder / "out"
    arguments = ("predict", study.model, tree, "-o", out, "--key", study.key, *TORCH)
    return Call(
        arguments,
        lambda: _voxels_below(out, study),
        place=lambda base: base / "in" / "damaged",
    )


def _manifest(study: Study, folder: Path, mutants: Sequence[Path]) -> Path:
    """The healthy cases, and one for each damaged file: SEG as labels, else images."""
    folder.mkdir(parents=True, exist_ok=True)
    images, labels = study.data / "imagesTr", study.data / "labelsTr"
    rows = [
        (f"good{k}", images / f"p{k:02d}_0000.nii.gz", labels / f"p{k:02d}.nii.gz")
        for k in range(5)
    ]
    spare = images / "p05_0000.nii.gz", labels / "p05.nii.gz"
    for path in mutants:
        pair = (spare[0], path) if "_seg" in path.name else (path, spare[1])
        rows.append((path.name.split(".")[0], *pair))
    table = folder / "manifest.csv"
    with table.open("w", newline="") as stream:
        csv.writer(stream).writerows([("case_id", "image", "label"), *rows])
    text = "labels: {background: 0, ball: 1}\nchannels: [MR]\n"
    table.with_suffix(".yaml").write_text(text)
    return table


def doctor(study: Study, folder: Path, mutants: Sequence[Path]) -> Call:
    """A table of cases; what it says of the healthy ones must not change."""
    table, report = _manifest(study, folder, mutants), folder / "report.json"

    def found() -> Results:
        if not report.exists():
            return {"report": "none"}
        findings = json.loads(report.read_text())["findings"]
        # a damaged copy may still hold a healthy scan's voxels, and is then said to
        own = [
            str(finding)
            for finding in findings
            if all(
                case.startswith("good")
                for case in str(finding.get("case_id", "")).split(", ")
            )
        ]
        return {"findings": "\n".join(sorted(own))}

    return Call(("doctor", table, "-o", report, "-q"), found)


def prepare(study: Study, folder: Path, mutants: Sequence[Path]) -> Call:
    """The same table prepared by a given plan."""
    table, store = _manifest(study, folder, mutants), folder / "store"
    arguments = ("prepare", table, "-o", store, "--plan", study.store / "plan.yaml")
    return Call(
        (*arguments, "--skip-broken", "--workers", 1, "--folds", 2, "-q"),
        lambda: arrays_below(store / "cases", "good"),
    )


def arrays_below(folder: Path, beginning: str = "") -> Results:
    """Hashes of the arrays of prepared cases."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*.npy"))
        if path.relative_to(folder).parts[0].startswith(beginning)
    }


def evaluate(study: Study, folder: Path, mutants: Sequence[Path]) -> Call:
    """Damaged and healthy label maps against healthy ones."""
    predictions, references = folder / "predictions", folder / "references"
    references.mkdir(parents=True, exist_ok=True)
    for k in range(3):
        ball = scan(k)[1].astype(np.uint8)
        write_nifti(references / f"good{k}.nii.gz", ball)
        write_nifti(predictions / f"good{k}.nii.gz", np.roll(ball, 1, axis=0))
    for path in mutants:
        source = study.data / "labelsTr" / "p01.nii.gz"
        shutil.copy(source, references / f"{path.name.split('.')[0]}.nii.gz")
    out = folder / "scores"

    def found() -> Results:
        if not (out / "cases.csv").exists():
            return {"cases": "none"}
        with (out / "cases.csv").open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        own = [r for r in rows if r["case_id"].startswith("good")]
        # damaged label maps bring further structures, and so another name for the ball
        balls = [r for r in own if r["structure"] in ("foreground", "label_1")]
        return {r["case_id"]: r["dice"] for r in balls}

    return Call(
        ("evaluate", predictions, references, "-o", out, "-q"),
        found,
        place=lambda base: base / "predictions",
        are_labels=True,
    )


VERBS: dict[str, Callable[[Study, Path, Sequence[Path]], Call]] = {
    "convert": convert,
    "predict": predict,
    "doctor": doctor,
    "prepare": prepare,
    "evaluate": evaluate,
}
