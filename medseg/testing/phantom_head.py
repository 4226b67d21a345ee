"""A head for each simulated patient: the ICBM 2009 template, moved and deformed.

The template is the average T1-weighted brain of 152 young adults with maps of grey
and white matter, without skull, 1 mm (Fonov et al., NeuroImage 2011,
doi:10.1016/j.neuroimage.2010.07.033). The PyPI package nilearn carries it as files;
nothing is downloaded.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from scipy import ndimage

from medseg.errors import MissingFileError
from medseg.extras import how_to_install
from medseg.geometry import Grid, affine_from_spacing
from medseg.io import read_volume
from medseg.types import Affine, Spacing

_NUM_WAVES = 8


@dataclass(frozen=True)
class Waves:
    """A smooth random field with mean 0 and variance 1 over all positions."""

    vectors: np.ndarray
    """Wave vectors in radians per mm, shape (n, 3)."""
    phases: np.ndarray
    """Phases in radians, shape (n,)."""

    @classmethod
    def draw(cls, generator: np.random.Generator, *, wavelength_mm: float) -> "Waves":
        """Waves in random directions, none shorter than a wavelength."""
        directions = generator.normal(size=(_NUM_WAVES, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        lengths = wavelength_mm * generator.uniform(1, 2, size=(_NUM_WAVES, 1))
        phases = generator.uniform(0, 2 * np.pi, size=_NUM_WAVES)
        return cls(2 * np.pi * directions / lengths, phases)

    def at(self, positions: np.ndarray) -> np.ndarray:
        """The field at world positions in mm, shape (3, ...), as float32."""
        flat = positions.reshape(3, -1)
        total = np.zeros(flat.shape[1], dtype=np.float32)
        for vector, phase in zip(self.vectors, self.phases, strict=True):
            angle = vector.astype(np.float32) @ flat + np.float32(phase)
            total += np.cos(angle, out=angle)
        total *= np.float32(np.sqrt(2 / len(self.phases)))
        return total.reshape(positions.shape[1:])


CENTER_MM = (0.0, -17.0, 4.0)
"""Middle of the template's brain."""
FIELD_OF_VIEW_MM = (168.0, 212.0, 176.0)
"""What a simulated scan covers: the brain and a margin for its movement."""
_FILE = "datasets/data/mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"


@dataclass(frozen=True)
class Template:
    """The template's maps, averaged over voxels of a scan's size."""

    maps: tuple[np.ndarray, ...]
    """T1-weighted intensity in 0 to 255, grey matter, white matter and brain, each
    in 0 to 1, on the template's own grid of 1 mm."""
    affine: Affine

    def averaged(self, spacing: Spacing) -> "Template":
        """The template as seen by voxels of a size: the partial volume effect."""
        sigma = [0.3 * size for size in spacing]
        blurred = tuple(ndimage.gaussian_filter(array, sigma) for array in self.maps)
        return Template(blurred, self.affine)


@dataclass(frozen=True)
class Head:
    """A patient's tissues on the grid of a scan, each an array (I, J, K)."""

    t1: np.ndarray
    gray: np.ndarray
    white: np.ndarray
    brain: np.ndarray
    """Share of the voxel inside the brain; what is neither grey nor white is fluid."""


def load_template() -> Template:
    """The template that nilearn carries.

    Raises:
        MissingFileError: nilearn is not installed, or a version without the files.
    """
    volumes = [read_volume(_template_file(name)) for name in ("t1", "gm", "wm")]
    t1, gray, white = (volume.voxels[0].astype(np.float32) for volume in volumes)
    brain = ndimage.binary_fill_holes(t1 > 0).astype(np.float32)
    return Template((t1, gray / 255, white / 255, brain), volumes[0].affine)


def scan_grid(spacing: Spacing) -> Grid:
    """The grid of a simulated scan, RAS+, around the template's brain."""
    count = np.rint(np.asarray(FIELD_OF_VIEW_MM) / spacing).astype(int)
    affine = affine_from_spacing(spacing)
    affine[:3, 3] = CENTER_MM - (count - 1) / 2 * spacing
    return Grid((int(count[0]), int(count[1]), int(count[2])), affine)


def positions_of(grid: Grid) -> np.ndarray:
    """World position in mm of every voxel, float32, shape (3, I, J, K)."""
    index = np.indices(grid.shape, dtype=np.float32)
    matrix = grid.affine.astype(np.float32)
    moved = np.tensordot(matrix[:3, :3], index, axes=1) + _column(matrix[:3, 3], 4)
    return np.asarray(moved)


@dataclass(frozen=True)
class Pose:
    """How a patient's head lies in the scanner and differs from the template."""

    matrix: np.ndarray
    """Turns, scales and may mirror offsets from the middle of the brain, (3, 3)."""
    waves: tuple[Waves, Waves, Waves]
    """Elastic displacement along each world axis."""

    @classmethod
    def draw(cls, generator: np.random.Generator) -> "Pose":
        """A random head: size within 8 %, turned by about 5 degrees, either side."""
        scale = np.diag(1 / generator.uniform(0.92, 1.06, size=3))
        scale[0, 0] *= generator.choice([-1, 1])
        rotation = _rotation(generator.normal(scale=5, size=3))
        x, y, z = (Waves.draw(generator, wavelength_mm=60) for _ in range(3))
        return cls(scale @ rotation, (x, y, z))

    def to_template(self, positions: np.ndarray) -> np.ndarray:
        """Where scanner positions in mm, shape (3, ...), lie in the template."""
        center = _column(CENTER_MM, positions.ndim)
        matrix = self.matrix.astype(np.float32)
        moved = np.tensordot(matrix, positions - center, axes=1) + center
        return np.asarray(moved + self._displacement(positions), dtype=np.float32)

    def to_scanner(self, positions: np.ndarray) -> np.ndarray:
        """Where template positions in mm, shape (3, ...), lie in the scanner.

        Solved by fixed-point iteration, which converges since the displacement
        changes slowly.
        """
        center = _column(CENTER_MM, positions.ndim)
        inverse = np.linalg.inv(self.matrix)
        found = positions
        for _ in range(20):
            target = positions - center - self._displacement(found)
            found = np.tensordot(inverse, target, axes=1) + center
        return found

    def _displacement(self, positions: np.ndarray) -> np.ndarray:
        return np.stack([2.5 * waves.at(positions) for waves in self.waves])


def sample_head(template: Template, pose: Pose, positions: np.ndarray) -> Head:
    """A patient's tissues at scanner positions in mm, shape (3, I, J, K)."""
    moved = pose.to_template(positions)
    matrix = np.linalg.inv(template.affine).astype(np.float32)
    index = np.tensordot(matrix[:3, :3], moved, axes=1) + _column(matrix[:3, 3], 4)
    return Head(
        *(ndimage.map_coordinates(array, index, order=1) for array in template.maps)
    )


def white_matter_positions(template: Template) -> np.ndarray:
    """Template positions in mm deep in the white matter of the cerebrum, (n, 3)."""
    index = np.argwhere(template.maps[2] > 0.9)
    positions = index @ template.affine[:3, :3].T + template.affine[:3, 3]
    return np.asarray(positions[positions[:, 2] > -15])


def _template_file(name: str) -> Path:
    package = find_spec("nilearn")
    if package is None or package.origin is None:
        raise MissingFileError(
            "the demonstration study needs the brain template that the package "
            f"nilearn carries: {how_to_install('demo')}"
        )
    path = Path(package.origin).parent / _FILE.format(name)
    if not path.is_file():
        raise MissingFileError(
            f"{path}: this version of nilearn has no such file; expected 0.11 or later"
        )
    return path


def _rotation(angles_deg: np.ndarray) -> np.ndarray:
    from scipy.spatial.transform import Rotation

    return np.asarray(Rotation.from_euler("xyz", angles_deg, degrees=True).as_matrix())


def _column(vector: Sequence[float] | np.ndarray, ndim: int) -> np.ndarray:
    return np.asarray(vector, dtype=np.float32).reshape(3, *[1] * (ndim - 1))
