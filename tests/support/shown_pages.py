"""Every page that medseg writes, of generated data, for tests that open them."""

from pathlib import Path

import nibabel as nib
import numpy as np
from command_line import medseg

from medseg.io import read_label_map, write_label_map
from medseg.testing import make_tiny_cells, make_tiny_study
from medseg.testing.phantom import make_phantom_study
from medseg.volume import LabelMap

CONFIG = """\
plan: {batch_size: 2, patch_size: [32, 32, 32],
       network: {name: unet, channels: [8, 16], strides: [1, 2]}}
prepare: {num_folds: 3}
training: {steps: 40, precision: float32, validation_cases: 1}
inference: {engine: torch, precision: float32, overlap: 0.5}
tracking: {enabled: false}
"""
STUDY = """\
name: losses
base: base.yaml
folds: [0]
seeds: [0]
variations:
  dice_ce: {training: {loss: {name: dice_ce}}}
  focal: {training: {loss: {name: focal}}}
  ce: {training: {loss: {name: ce}, steps: 10}}
metrics: [dice, nsd]
"""
RUN = "losses/runs/dice_ce_fold0_seed0"


def call(
    *arguments: str | Path,
    folder: Path,
    code: int = 0,
    options: tuple[str, ...] = ("--quiet",),
) -> None:
    """Runs a verb, which must end with a code."""
    program = medseg(*arguments, *options, cwd=folder)
    assert program.returncode == code, program.stderr[-2000:]


def make_runs(folder: Path) -> None:
    """``losses``: a comparison of short runs, with a report each."""
    make_tiny_study(folder / "data", num_cases=9, shape=(44, 48, 36))
    (folder / "base.yaml").write_text(CONFIG)
    (folder / "study.yaml").write_text(STUDY)
    call("compare", "study.yaml", "--data", "data", "-o", "losses", folder=folder)


def make_predictions(folder: Path) -> None:
    """``found``: predictions of a run, one of a suspect scan, one that failed."""
    scans = (
        make_tiny_study(folder / "more", num_cases=6, shape=(44, 48, 36), seed=5)
        / "imagesTr"
    )
    odd, cut = sorted(scans.iterdir())[-2:]
    image = nib.load(odd)
    voxels = np.asarray(image.dataobj)
    nib.save(nib.Nifti1Image(600 - voxels, image.affine), odd)  # inverted contrast
    cut.write_bytes(cut.read_bytes()[:4000])
    call("predict", RUN, scans, "-o", "found", "--device", "cpu", folder=folder, code=1)


def make_scores(folder: Path) -> None:
    """``scores``: simulated brains with lesions, drawn beside the truth by a voxel."""
    study = make_phantom_study(folder / "brains", num_cases=4)
    for path in sorted((study / "labelsTr").glob("*.nii.gz")):
        truth = read_label_map(path)
        shifted = LabelMap(np.roll(truth.voxels, 1, axis=0), truth.affine)
        write_label_map(folder / "drawn" / path.name, shifted)
    call("evaluate", "drawn", study, "-o", "scores", folder=folder)


def make_cells(folder: Path) -> None:
    """``cells_found``: numbered nuclei of pictures."""
    make_tiny_cells(folder / "cells", num_pictures=6, size=256, num_cells=40)
    pictures = folder / "cells" / "images"
    call("predict", "nuclei", pictures, "-o", "cells_found", folder=folder)


def make_other_pages(folder: Path) -> None:
    """The page of a network, ``network``, and of a data set's ``findings.html``."""
    call("inspect", RUN, "-o", "network", folder=folder, options=())
    next((folder / "data" / "labelsTr").glob("*.nii.gz")).write_bytes(b"damaged")
    call("doctor", "data", "-o", "findings.html", folder=folder, code=1)
