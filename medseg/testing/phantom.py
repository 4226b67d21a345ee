"""A brain MR study whose truth is known: real anatomy, simulated lesions and scans.

Real is the anatomy: the ICBM 2009 template with its maps of grey and white matter.
Simulated are the patients (the one template turned, scaled, mirrored and deformed),
the FLAIR contrast, the lesions, the bias field and the noise. Scores on it say
whether the program works, nothing about patients.
"""

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from medseg.files import write_text
from medseg.geometry import Reorientation
from medseg.io import write_label_map, write_volume
from medseg.progress import Progress, Silent
from medseg.tables import csv_text
from medseg.testing.phantom_head import (
    Head,
    Pose,
    Template,
    Waves,
    load_template,
    positions_of,
    sample_head,
    scan_grid,
    white_matter_positions,
)
from medseg.testing.phantom_lesions import (
    Painting,
    SimulatedLesion,
    draw_lesion,
    moved,
    paint,
)
from medseg.types import Spacing
from medseg.volume import LabelMap, Volume

CHANNELS = ("FLAIR", "T1")
_FLAIR = {"gray": 120.0, "white": 95.0, "fluid": 25.0, "lesion": 195.0, "core": 60.0}
_T1 = {"lesion": 140.0, "core": 75.0}


def scan_head(
    head: Head,
    lesions: Painting,
    *,
    positions: np.ndarray,
    generator: np.random.Generator,
) -> np.ndarray:
    """Two channels, FLAIR-like and T1-weighted, int16, shape (2, I, J, K).

    Outside the brain all is 0, as in skull-stripped scans.

    Args:
        head: Tissues.
        lesions: Share of each voxel that is lesion and core.
        positions: World position of every voxel in mm, shape (3, I, J, K).
        generator: Draws everything that differs between scans.
    """
    channels = [
        _measured(ideal, head.brain, positions, generator)
        for ideal in (_flair(head, lesions), _t1(head, lesions))
    ]
    return np.stack(channels)


def _flair(head: Head, lesions: Painting) -> np.ndarray:
    """Fluid dark, grey matter above white, lesions bright.

    There is no FLAIR template: the contrast is made of the tissue maps, with the fine
    structure of the T1-weighted template inverted.
    """
    fluid = np.clip(head.brain - head.gray - head.white, 0, 1)
    tissue = head.gray * _FLAIR["gray"] + head.white * _FLAIR["white"]
    texture = (head.gray * 165 + head.white * 222 + fluid * 67 - head.t1) * 0.25
    return _with_lesions(tissue + fluid * _FLAIR["fluid"] + texture, lesions, _FLAIR)


def _t1(head: Head, lesions: Painting) -> np.ndarray:
    """The template's own contrast; lesions are darker than white matter."""
    return _with_lesions(head.t1, lesions, _T1)


def _with_lesions(
    ideal: np.ndarray, lesions: Painting, levels: dict[str, float]
) -> np.ndarray:
    weight = ndimage.gaussian_filter(lesions.lesion * lesions.contrast, 0.5)
    core = ndimage.gaussian_filter(lesions.core, 0.5)
    with_lesion = ideal + weight * (levels["lesion"] - ideal)
    return np.asarray(with_lesion + core * (levels["core"] - with_lesion))


def _measured(
    ideal: np.ndarray,
    brain: np.ndarray,
    positions: np.ndarray,
    generator: np.random.Generator,
) -> np.ndarray:
    """What a scanner makes of ideal intensities: gamma, bias field, Rician noise."""
    gamma = generator.uniform(0.85, 1.15)
    signal = 255 * np.clip(ideal / 255, 0, 1.5) ** gamma
    waves = Waves.draw(generator, wavelength_mm=180)
    signal *= np.exp(generator.uniform(0.05, 0.15) * waves.at(positions))
    deviation = generator.uniform(3, 9)
    real, imaginary = generator.normal(scale=deviation, size=(2, *ideal.shape))
    magnitude = np.hypot(signal + real, imaginary)
    units = generator.uniform(1.5, 8)
    return np.asarray(np.rint(magnitude * units * (brain > 0.5)), dtype=np.int16)


LABELS = {"lesion": 1, "core": 2}
SIMULATION_NOTE = (
    "Anatomy: ICBM 2009 template (T1, grey and white matter), turned, scaled, mirrored "
    "and deformed for each patient. Simulated: patients, FLAIR contrast, lesions and "
    "their cores, bias field, noise. Scores say whether the program "
    "works, nothing about patients."
)
_STORED_AS_LPS = Reorientation((0, 1, 2), (True, True, False))
_STORED_AS_RAS = Reorientation((0, 1, 2), (False, False, False))


@dataclass(frozen=True)
class PhantomCase:
    """What is decided about a case before it is simulated."""

    number: int
    patient: int
    spacing: Spacing
    healthy: bool
    storage: Reorientation
    """How the voxel axes are stored; the affine says so."""

    @property
    def case_id(self) -> str:
        """Name of the case's files."""
        return f"phantom_{self.number:03d}"

    @property
    def patient_id(self) -> str:
        """Patient as written to ``cases.csv``."""
        return f"patient_{self.patient:03d}"


def make_phantom_study(
    folder: Path,
    *,
    num_cases: int = 24,
    seed: int = 0,
    spacing: Spacing = (2.0, 2.0, 2.0),
    progress: Progress | None = None,
) -> Path:
    """Writes a study in the Decathlon layout, with patients and the truth in tables.

    Two channels (FLAIR-like, T1) and two labels: 1 lesion, 2 core, the fluid-filled
    middle of larger lesions. Lesion volumes are log-uniform from 0.04 to 15 ml. Every
    third case has thick slices, every fourth is stored with other axis directions,
    every fifth is a second visit of the patient before, and one has no lesion.
    ``cases.csv`` names the patients, ``lesions.csv`` each lesion's place and volume.

    Args:
        folder: Made if it is not there.
        num_cases: Number of cases.
        seed: The study is the same for the same seed.
        spacing: Voxel size in mm of most cases.
        progress: Follows the cases.

    Returns:
        The folder.

    Raises:
        MissingFileError: The package nilearn, which carries the template, is not
            installed.
        OutputError: A file cannot be written.
    """
    template = load_template()
    cases = plan_cases(num_cases, spacing=spacing)
    averaged = {size: template.averaged(size) for size in {c.spacing for c in cases}}
    centers = white_matter_positions(template)

    def write(case: PhantomCase) -> list[list[object]]:
        volume, label_map, lesions = simulate(
            case, averaged[case.spacing], centers=centers, seed=seed
        )
        write_volume(folder / "imagesTr" / f"{case.case_id}.nii.gz", volume)
        write_label_map(folder / "labelsTr" / f"{case.case_id}.nii.gz", label_map)
        return list(_truth_rows(case, lesions))

    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        shown = (progress or Silent()).track(
            pool.map(write, cases), label="Simulating", total=num_cases
        )
        truth = [row for rows in shown for row in rows]
    _write_tables(folder, cases, truth)
    return folder


def plan_cases(num_cases: int, *, spacing: Spacing) -> tuple[PhantomCase, ...]:
    """Patients, spacings and storage of each case; nothing here is random."""
    thick = (0.8 * spacing[0], 0.8 * spacing[1], 2 * spacing[2])
    cases = []
    patient = -1
    for number in range(num_cases):
        patient += number % 5 != 4
        cases.append(
            PhantomCase(
                number=number,
                patient=patient,
                spacing=thick if number % 3 == 2 else spacing,
                healthy=number == num_cases // 2,
                storage=_STORED_AS_LPS if number % 4 == 3 else _STORED_AS_RAS,
            )
        )
    return tuple(cases)


def simulate(
    case: PhantomCase, template: Template, *, centers: np.ndarray, seed: int
) -> tuple[Volume, LabelMap, tuple[SimulatedLesion, ...]]:
    """The scan, the label map and the lesions of a case.

    Args:
        case: What is decided about it.
        template: Averaged over the case's voxel size.
        centers: Template positions in mm where a lesion may lie, shape (n, 3).
        seed: Of the study. Anatomy and lesions depend on it and the patient, contrast,
            noise and the lesions' growth on it and the case.
    """
    anatomy = np.random.default_rng([seed, 0, case.patient])
    visit = np.random.default_rng([seed, 1, case.number])
    pose = Pose.draw(anatomy)
    grid = scan_grid(case.spacing)
    positions = positions_of(grid)
    head = sample_head(template, pose, positions)
    lesions = () if case.healthy else tuple(_lesions(pose, centers, anatomy, visit))
    painting = Painting.empty(grid.shape)
    for lesion in lesions:
        paint(lesion, painting, grid=grid, gray=head.gray, white=head.white)
    scan = scan_head(head, painting, positions=positions, generator=visit)
    affine = case.storage.apply_to_affine(grid.affine, grid.shape)
    return (
        Volume(case.storage.apply(scan), affine),
        LabelMap(case.storage.apply(painting.labels), affine),
        lesions,
    )


def _lesions(
    pose: Pose,
    centers: np.ndarray,
    anatomy: np.random.Generator,
    visit: np.random.Generator,
) -> Iterator[SimulatedLesion]:
    """One to six lesions, most patients having few, as large as they are today."""
    for _ in range(1 + min(int(anatomy.poisson(1.8)), 5)):
        place = anatomy.choice(centers).astype(np.float32)
        lesion = draw_lesion(anatomy)
        growth = float(visit.uniform(0.8, 1.25))
        yield moved(lesion, to_mm=pose.to_scanner(place), growth=growth)


def _truth_rows(
    case: PhantomCase, lesions: tuple[SimulatedLesion, ...]
) -> Iterator[list[object]]:
    for number, lesion in enumerate(lesions, start=1):
        place = [round(value, 2) for value in lesion.center_mm]
        volumes = [round(lesion.volume_ml, 4), round(lesion.core_ml, 4)]
        yield [case.case_id, number, *place, *volumes, round(lesion.contrast, 3)]


def _write_tables(
    folder: Path, cases: tuple[PhantomCase, ...], truth: list[list[object]]
) -> None:
    files = [
        {part: f"./{part}sTr/{case.case_id}.nii.gz" for part in ("image", "label")}
        for case in cases
    ]
    specification = {
        "name": "Phantom",
        "description": SIMULATION_NOTE,
        "modality": {str(number): name for number, name in enumerate(CHANNELS)},
        "labels": {"0": "background", **{str(v): name for name, v in LABELS.items()}},
        "numTraining": len(cases),
        "training": files,
        "test": [],
    }
    write_text(folder / "dataset.json", json.dumps(specification, indent=1))
    rows = [[case.case_id, case.patient_id] for case in cases]
    write_text(folder / "cases.csv", _table(["case_id", "patient_id"], rows))
    columns = ["case_id", "lesion", "x_mm", "y_mm", "z_mm", "volume_ml", "core_ml"]
    write_text(folder / "lesions.csv", _table([*columns, "contrast"], truth))


def _table(columns: list[str], rows: list[list[str]] | list[list[object]]) -> str:
    return csv_text(columns, rows)
