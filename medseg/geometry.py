"""Affine arithmetic: the one owner of spacing, origin, direction and orientation.

An affine is 4 x 4 and takes a voxel index (i, j, k) to a world position in mm in the
RAS+ frame (x grows towards the patient's Right, y Anterior, z Superior); integer
indices are voxel centres. Its columns may be any three independent directions: an
oblique grid, a left-handed one and the sheared grid of a tilted CT gantry are all
affines.
"""

import itertools
from dataclasses import dataclass

import numpy as np

from medseg.errors import GeometryError, GridMismatchError
from medseg.types import Affine, Shape, Spacing

ORTHONORMAL_TOLERANCE = 1e-3
"""Largest departure of the direction matrix from orthonormality that is repaired.

Headers hold directions with six or seven digits; anything above this is a real
shear, not rounding.
"""

_AXIS_CODES = (("L", "R"), ("P", "A"), ("I", "S"))


def spacing_of(affine: Affine) -> Spacing:
    """Voxel size in mm along (i, j, k): the lengths of the affine's columns."""
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    return (float(lengths[0]), float(lengths[1]), float(lengths[2]))


def direction_of(affine: Affine) -> np.ndarray:
    """Unit direction of each voxel axis, as the columns of a 3 x 3 matrix."""
    return np.asarray(affine[:3, :3] / np.asarray(spacing_of(affine)))


def orthonormality_error(affine: Affine) -> float:
    """Largest absolute entry of DᵀD − 1, D being the direction matrix.

    Zero for a rotation or reflection, sin(angle) for axes that lean by an angle.
    """
    direction = direction_of(affine)
    return float(np.abs(direction.T @ direction - np.eye(3)).max())


def repair_affine(affine: Affine) -> Affine:
    """The nearest affine with orthonormal directions; spacing and origin are kept.

    The direction matrix is replaced by the orthogonal factor of its polar
    decomposition, the closest orthogonal matrix in the Frobenius norm (Higham, SIAM
    J Sci Stat Comput 1986, doi:10.1137/0907079).

    Raises:
        GeometryError: The affine is singular or not finite.
    """
    check_affine(affine)
    left, _, right = np.linalg.svd(direction_of(affine))
    repaired = affine.copy()
    repaired[:3, :3] = (left @ right) * np.asarray(spacing_of(affine))
    return repaired


def check_affine(affine: Affine) -> None:
    """Refuses an affine that is singular, not finite or not homogeneous.

    Raises:
        GeometryError: It is one of these.
    """
    if not np.isfinite(affine).all():
        raise GeometryError("affine holds NaN or infinite values")
    if not np.array_equal(affine[3], [0, 0, 0, 1]):
        raise GeometryError(f"affine's last row is {affine[3]}, expected [0 0 0 1]")
    if min(spacing_of(affine)) < 1e-9:  # electron microscopes reach 1e-7 mm
        raise GeometryError(f"affine has a voxel size of 0: {spacing_of(affine)}")
    if abs(np.linalg.det(direction_of(affine))) < 1e-3:
        raise GeometryError("affine is singular: two voxel axes are parallel")


def affine_from_spacing(
    spacing: Spacing, origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
) -> Affine:
    """An axis-aligned affine: voxel (0, 0, 0) at the origin, axes along RAS+."""
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = origin
    return affine


def says_nothing(affine: Affine) -> bool:
    """Whether an affine is a placeholder: voxels of 1 mm, unturned, at the origin.

    Axes may run either way, as writers of NIfTI and of ITK's LPS leave them.
    """
    return bool(np.array_equal(np.abs(affine), np.eye(4)))


def lps_from_ras(affine: Affine) -> Affine:
    """The same grid in the LPS frame of DICOM and ITK; its own inverse."""
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    return np.asarray(flip @ affine)


def axis_order(affine: Affine) -> tuple[tuple[int, int], ...]:
    """For each voxel axis, the world axis it runs along and its sign.

    The assignment maximises the summed alignment over all six permutations, so that
    each world axis is used once even for a grid that lies at 45 degrees.
    """
    direction = direction_of(affine)
    best = max(
        itertools.permutations(range(3)),
        key=lambda order: sum(abs(direction[order[axis], axis]) for axis in range(3)),
    )
    return tuple(
        (world, 1 if direction[world, axis] >= 0 else -1)
        for axis, world in enumerate(best)
    )


def orientation_of(affine: Affine) -> str:
    """Where each voxel axis points, as three letters, such as ``"RAS"``."""
    return "".join(
        _AXIS_CODES[world][1 if sign > 0 else 0] for world, sign in axis_order(affine)
    )


@dataclass(frozen=True)
class Reorientation:
    """A permutation and flips of voxel axes; moves no voxel off its position."""

    order: tuple[int, int, int]
    """For each new axis, the old axis it comes from."""
    flips: tuple[bool, bool, bool]
    """For each new axis, whether it runs against the old one."""

    def apply(self, array: np.ndarray) -> np.ndarray:
        """A view with the last three axes reoriented."""
        lead = array.ndim - 3
        moved = array.transpose(*range(lead), *(lead + axis for axis in self.order))
        steps = tuple(slice(None, None, -1 if flip else None) for flip in self.flips)
        return moved[(..., *steps)]

    def undo(self, array: np.ndarray) -> np.ndarray:
        """A view with the last three axes back in their old order."""
        lead = array.ndim - 3
        steps = tuple(slice(None, None, -1 if flip else None) for flip in self.flips)
        inverse = np.argsort(self.order)
        return array[(..., *steps)].transpose(
            *range(lead), *(lead + int(axis) for axis in inverse)
        )

    def apply_to_affine(self, affine: Affine, shape: Shape) -> Affine:
        """The affine of the reoriented array, given the old array's shape."""
        matrix = np.zeros((4, 4))
        matrix[3, 3] = 1
        for new, (old, flip) in enumerate(zip(self.order, self.flips, strict=True)):
            matrix[old, new] = -1 if flip else 1
            if flip:
                matrix[old, 3] = shape[old] - 1
        return affine @ matrix


def reorientation_between(source: "Grid", target: "Grid") -> Reorientation | None:
    """The axis permutation and flips that make one grid the other, exactly.

    None where the grids do not hold the same voxel positions; where they are equal,
    nothing is permuted or flipped.
    """
    old, new = axis_order(source.affine), axis_order(target.affine)
    order = [
        next(n for n in range(3) if old[n][0] == new[axis][0]) for axis in range(3)
    ]
    flips = [old[order[axis]][1] != new[axis][1] for axis in range(3)]
    turn = Reorientation((order[0], order[1], order[2]), (flips[0], flips[1], flips[2]))
    i, j, k = (source.shape[axis] for axis in order)
    turned = Grid((i, j, k), turn.apply_to_affine(source.affine, source.shape))
    return None if target.mismatch(turned) else turn


def canonical_reorientation(affine: Affine) -> Reorientation:
    """The axis permutation and flips that bring a grid closest to RAS+."""
    axes = axis_order(affine)
    order = [0, 0, 0]
    flips = [False, False, False]
    for old, (world, sign) in enumerate(axes):
        order[world] = old
        flips[world] = sign < 0
    return Reorientation((order[0], order[1], order[2]), (flips[0], flips[1], flips[2]))


@dataclass(frozen=True)
class Grid:
    """Where the voxels of a scan lie: a shape and an affine."""

    shape: Shape
    affine: Affine

    def __post_init__(self) -> None:
        """Refuses an unusable affine or an empty shape."""
        check_affine(self.affine)
        if min(self.shape) < 1:
            raise GeometryError(f"grid has shape {self.shape}, expected 1 or more")

    @property
    def spacing(self) -> Spacing:
        """Voxel size in mm along (i, j, k)."""
        return spacing_of(self.affine)

    @property
    def orientation(self) -> str:
        """Where each voxel axis points, such as ``"RAS"``."""
        return orientation_of(self.affine)

    @property
    def voxel_volume_mm3(self) -> float:
        """Volume of one voxel in mm³; right for sheared grids too."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    def resampled(self, spacing: Spacing) -> "Grid":
        """The grid over the same field of view with another spacing.

        The outer faces of the first voxels coincide, and the number of voxels is
        rounded to the nearest whole number of at least one.
        """
        old = np.asarray(self.spacing)
        new = np.asarray(spacing, dtype=float)
        count = np.maximum(np.rint(np.asarray(self.shape) * old / new), 1).astype(int)
        affine = self.affine.copy()
        affine[:3, :3] = self.affine[:3, :3] * (new / old)
        shift = (new / old - 1) / 2
        affine[:3, 3] = self.affine[:3, :3] @ shift + self.affine[:3, 3]
        return Grid((int(count[0]), int(count[1]), int(count[2])), affine)

    def mismatch(self, other: "Grid", *, tolerance_mm: float = 1e-2) -> str:
        """How another grid differs from this one, in words; empty if it does not.

        Two grids agree when their shapes are equal and no corner lies further than
        the tolerance, or a twentieth of a voxel, from its counterpart.
        """
        if self.shape != other.shape:
            return f"shape {other.shape}, expected {self.shape}"
        tolerance_mm = min(tolerance_mm, 0.05 * min(self.spacing))
        offsets = self._corners() - other._corners()  # noqa: SLF001 - same class
        distance = float(np.linalg.norm(offsets, axis=1).max())
        if distance <= tolerance_mm:
            return ""
        if not np.allclose(self.spacing, other.spacing, rtol=1e-3, atol=0):
            return f"spacing {_short(other.spacing)}, expected {_short(self.spacing)}"
        if not np.allclose(
            direction_of(self.affine), direction_of(other.affine), atol=1e-3
        ):
            return (
                f"direction {other.orientation} {_round(direction_of(other.affine))}, "
                f"expected {self.orientation} {_round(direction_of(self.affine))}"
            )
        return (
            f"origin {_round(other.affine[:3, 3])}, "
            f"expected {_round(self.affine[:3, 3])} ({distance:.3g} mm apart)"
        )

    def require_match(self, other: "Grid", *, what: str) -> None:
        """Refuses a grid that differs from this one.

        Raises:
            GridMismatchError: It differs; the message says how.
        """
        if difference := self.mismatch(other):
            raise GridMismatchError(f"{what}: {difference}")

    def _corners(self) -> np.ndarray:
        last = np.asarray(self.shape) - 1
        corners = np.array(list(itertools.product((0, 1), repeat=3))) * last
        return np.asarray(corners @ self.affine[:3, :3].T + self.affine[:3, 3])


def _short(spacing: Spacing) -> list[float]:
    """A voxel size with four digits, whatever its unit made of it."""
    return [float(f"{size:.4g}") for size in spacing]


def _round(values: object) -> list[object]:
    return np.round(np.asarray(values, dtype=float), 3).tolist()  # type: ignore[no-any-return]
