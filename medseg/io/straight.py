"""A sheared grid's voxels on a straight grid around it."""

import itertools

import numpy as np

from medseg.geometry import Grid
from medseg.grid_limits import require_grid_size
from medseg.volume import Volume


def straight_grid(grid: Grid) -> Grid:
    """The smallest grid at right angles that holds a sheared one.

    The first axis keeps its direction, the second its plane; along the third lies
    the normal, stepped by the distance of the planes.
    """
    first, second, third = grid.affine[:3, :3].T
    axis_i = first / np.linalg.norm(first)
    normal = np.cross(first, second)
    normal *= np.sign(normal @ third) / np.linalg.norm(normal)
    axis_j = second - (second @ axis_i) * axis_i
    axis_j /= np.linalg.norm(axis_j)
    axes = np.stack([axis_i, axis_j, normal], axis=1)
    spacing = np.array([np.linalg.norm(first), second @ axis_j, third @ normal])
    last = np.asarray(grid.shape) - 1
    corners = np.array(list(itertools.product((0, 1), repeat=3))) * last
    along = (corners @ grid.affine[:3, :3].T) @ axes / spacing
    low = np.floor(along.min(axis=0) + 1e-6)
    count = np.ceil(along.max(axis=0) - 1e-6) - low + 1
    affine = np.eye(4)
    affine[:3, :3] = axes * spacing
    affine[:3, 3] = grid.affine[:3, 3] + affine[:3, :3] @ low
    return Grid((int(count[0]), int(count[1]), int(count[2])), affine)


def straightened(volume: Volume) -> Volume:
    """The volume on the straight grid, linear; outside, its lowest value.

    Raises:
        GeometryError: The straight grid would be too large.
    """
    from scipy import ndimage

    grid = straight_grid(volume.grid)
    require_grid_size(
        grid.shape,
        measured=volume.grid.shape,
        what="a sheared grid put straight",
        num_channels=2 * volume.num_channels,  # float64
    )
    matrix = np.linalg.inv(volume.affine) @ grid.affine
    voxels = np.stack(
        [
            ndimage.affine_transform(
                channel.astype(np.float64),
                matrix[:3, :3],
                offset=matrix[:3, 3],
                output_shape=grid.shape,
                order=1,
                mode="constant",
                cval=float(channel.min()),
            )
            for channel in volume.voxels
        ]
    )
    if np.issubdtype(volume.voxels.dtype, np.integer):
        voxels = np.rint(voxels)
    return Volume(voxels.astype(volume.voxels.dtype), grid.affine)
