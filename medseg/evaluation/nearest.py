"""The distance from each voxel of one set to the nearest voxel of another.

Two exact ways, chosen by size. A k-d tree looks only at the sets themselves and is
fastest for thin surfaces that lie close together, the usual case; far apart, a query
can touch the whole tree. A Euclidean distance transform costs the same whatever the
sets hold. So the tree answers the near voxels, and the transform those that are left
when they are too many for the tree.
"""

import numpy as np

_DENSE_SHARE = 0.1
"""Above this share of the box, the transform is cheaper than building a tree."""
_SMALL_BOX = 1 << 16
"""Voxels up to which the transform, which hands its work to a thread, never pays."""
_NEAR_STEPS = 10.0
"""What counts as near, in multiples of the largest voxel size."""
_FAR_BUDGET = 4.0
"""Largest product of far voxels and tree size, in multiples of the box, that the tree
answers; reading a whole tree costs about 10 ns a voxel, the transform 40."""


def nearest_distances(
    points: np.ndarray, targets: np.ndarray, *, steps: np.ndarray
) -> np.ndarray:
    """Distance in mm from every voxel of `points` to the nearest one of `targets`.

    Args:
        points: Boolean array of one to three axes.
        targets: Boolean array of the same shape.
        steps: World vector in mm of one voxel along each axis, as columns, shape
            (3, number of axes).

    Returns:
        Distances, float64, in the order of ``np.argwhere(points)``; infinite when
        `targets` is empty.
    """
    where = np.argwhere(points)
    distances = np.zeros(len(where))
    num_targets = int(np.count_nonzero(targets))
    if not num_targets or not len(where):
        distances.fill(np.inf)
        return distances
    apart = np.flatnonzero(~targets[points])
    orthogonal = _are_orthogonal(steps)
    crowded = len(apart) + num_targets > _DENSE_SHARE * points.size
    if orthogonal and crowded and points.size > _SMALL_BOX:
        return _by_transform(points, targets, steps)
    tree = _Tree(targets, steps)
    near = _NEAR_STEPS * float(np.linalg.norm(steps, axis=0).max())
    distances[apart] = tree.query(where[apart], limit=near)
    far = np.flatnonzero(np.isinf(distances))
    if orthogonal and len(far) * num_targets > _FAR_BUDGET * points.size:
        distances[far] = _by_transform(points, targets, steps)[far]
    elif len(far):
        distances[far] = tree.query(where[far], limit=np.inf)
    return distances


class _Tree:
    """A k-d tree over the world positions of the voxels of a mask."""

    def __init__(self, targets: np.ndarray, steps: np.ndarray) -> None:
        from scipy.spatial import cKDTree

        self._steps = steps
        self._tree = cKDTree(np.argwhere(targets) @ steps.T, leafsize=32)

    def query(self, where: np.ndarray, *, limit: float) -> np.ndarray:
        """Distances of voxel indices, shape (N, axes); infinite beyond the limit."""
        if not len(where):
            return np.zeros(0)
        found, _ = self._tree.query(where @ self._steps.T, distance_upper_bound=limit)
        return np.asarray(found)


def _by_transform(
    points: np.ndarray, targets: np.ndarray, steps: np.ndarray
) -> np.ndarray:
    """The same from a distance transform of the whole box; float32 inside."""
    import edt

    sizes = tuple(float(size) for size in np.linalg.norm(steps, axis=0))
    field = edt.edt(
        np.ascontiguousarray(~targets),
        anisotropy=sizes if len(sizes) > 1 else sizes[0],
        parallel=1,
    )
    return np.asarray(field[points], dtype=np.float64)


def _are_orthogonal(steps: np.ndarray) -> bool:
    products = steps.T @ steps
    off_diagonal = products - np.diag(np.diag(products))
    return bool(np.abs(off_diagonal).max(initial=0.0) <= 1e-3 * products.max())
