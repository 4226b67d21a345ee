"""Turning, scaling and bending by amounts whose result is known."""

import math

import pytest
import torch
from scipy import ndimage

from medseg.augmentation.draw import num_control_points
from medseg.augmentation.spatial import (
    bend,
    center_on,
    normalized_theta,
    resample,
    rotation_matrices,
    source_matrices,
    spline_weights,
)


def identity(rows: int, dims: int) -> dict:
    return {
        "angles": torch.zeros((rows, 3 if dims == 3 else 1)),
        "zooms": torch.ones(rows),
        "flips": [()] * rows,
        "spacing": (1.0,) * dims,
        "thick_axis": None,
    }


def read(labels: torch.Tensor, size=None, **changes):
    """Labels (r, *spatial) and the same as images, after the given changes."""
    size = size or labels.shape[1:]
    arguments = identity(len(labels), labels.ndim - 1) | changes
    matrices = source_matrices(
        arguments.pop("angles"),
        arguments.pop("zooms"),
        arguments.pop("flips"),
        **arguments,
    )
    theta = normalized_theta(matrices, source_size=labels.shape[1:], patch_size=size)
    images, moved = resample(labels[:, None].float(), labels, theta, patch_size=size)
    return images[:, 0], moved


def random_labels(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 5, shape, generator=generator).to(torch.uint8)


@pytest.mark.parametrize("shape", [(2, 7, 6, 5), (2, 7, 6)])
def test_identity_returns_the_input(shape):
    labels = random_labels(*shape)
    images, moved = read(labels)
    assert torch.equal(moved, labels)
    assert torch.allclose(images, labels.float(), atol=1e-5)


@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 2)])
def test_mirroring_in_the_matrix_is_a_flip(axes):
    labels = random_labels(1, 7, 6, 5)
    _, moved = read(labels, flips=[axes])
    assert torch.equal(moved, labels.flip([axis + 1 for axis in axes]))


@pytest.mark.parametrize(("axis", "plane"), [(0, (1, 2)), (1, (2, 0)), (2, (0, 1))])
def test_quarter_turn_about_each_axis(axis, plane):
    labels = random_labels(1, 8, 8, 8)
    angles = torch.zeros((1, 3))
    angles[0, axis] = math.pi / 2
    _, moved = read(labels, angles=angles)
    first, second = (p + 1 for p in plane)
    assert torch.equal(moved, torch.rot90(labels, -1, (first, second)))


def test_quarter_turn_in_two_dimensions():
    labels = random_labels(1, 8, 8)
    _, moved = read(labels, angles=torch.full((1, 1), math.pi / 2))
    assert torch.equal(moved, torch.rot90(labels, -1, (1, 2)))


def test_rotations_are_proper():
    angles = torch.rand((5, 3), generator=torch.Generator().manual_seed(0))
    matrices = rotation_matrices(angles)
    product = matrices @ matrices.transpose(1, 2)
    assert torch.allclose(product, torch.eye(3).expand(5, 3, 3), atol=1e-6)
    assert torch.allclose(torch.linalg.det(matrices), torch.ones(5))


def test_rotation_happens_in_millimetres():
    labels = torch.zeros((1, 41, 81), dtype=torch.uint8)
    labels[:, 20 - 5 : 20 + 6, 40 - 20 : 40 + 21] = 1  # 22 mm by 41 * 0.5 mm
    _, moved = read(labels, angles=torch.full((1, 1), math.pi / 2), spacing=(2.0, 0.5))
    long_side = moved[0].any(dim=1).sum() * 2.0
    short_side = moved[0].any(dim=0).sum() * 0.5
    assert abs(float(long_side) - 20.5) <= 2.0
    assert abs(float(short_side) - 22.0) <= 0.5


def test_magnification_of_two_doubles_a_square():
    labels = torch.zeros((1, 20, 20), dtype=torch.uint8)
    labels[:, 8:12, 8:12] = 1
    _, moved = read(labels, zooms=torch.tensor([2.0]))
    assert moved.sum() == 8 * 8


def test_thick_axis_is_not_scaled():
    labels = torch.zeros((1, 20, 20, 6), dtype=torch.uint8)
    labels[:, 8:12, 8:12, 2:4] = 1
    _, moved = read(labels, zooms=torch.tensor([2.0]), thick_axis=2)
    assert moved.sum() == 8 * 8 * 2


def test_resampling_agrees_with_scipy():
    labels = random_labels(1, 13, 11, 9)
    arguments = identity(1, 3) | {
        "angles": torch.tensor([[0.3, -0.2, 0.4]]),
        "zooms": torch.tensor([1.2]),
        "spacing": (1.0, 0.7, 2.0),
    }
    images, _ = read(labels, **arguments)
    matrix = source_matrices(**arguments)[0].double().numpy()
    center = (torch.tensor(labels.shape[1:]).double().numpy() - 1) / 2
    expected = ndimage.affine_transform(
        labels[0].double().numpy(),
        matrix,
        offset=center - matrix @ center,
        order=1,
        mode="grid-constant",
    )
    assert torch.allclose(images[0].double(), torch.from_numpy(expected), atol=1e-4)


def test_patch_is_read_from_the_middle_of_a_larger_source():
    labels = random_labels(1, 12, 10, 8)
    _, moved = read(labels, size=(6, 4, 8))
    assert torch.equal(moved, labels[:, 3:9, 3:7])


@pytest.mark.parametrize(("num_voxels", "spacing"), [(1, 4), (9, 4), (40, 16)])
def test_spline_weights_share_the_whole_and_reproduce_a_line(num_voxels, spacing):
    weights = spline_weights(num_voxels, spacing)
    assert weights.shape == (num_voxels, num_control_points(num_voxels, spacing))
    assert torch.allclose(weights.sum(dim=1), torch.ones(num_voxels))
    line = (torch.arange(weights.shape[1]) - 1.0) * spacing
    assert torch.allclose(weights @ line, torch.arange(num_voxels) * 1.0, atol=1e-4)


def test_bending_never_folds_space():
    size, spacing = (32, 32, 32), 8
    weights = [spline_weights(n, spacing) for n in size]
    generator = torch.Generator().manual_seed(0)
    control = torch.rand((3, 3, *(w.shape[1] for w in weights)), generator=generator)
    moved = (control * 2 - 1).sign() * 0.4 * spacing
    field = bend(moved, weights, source_size=size).flip(-1) * 16
    gradients = torch.stack(torch.gradient(field, dim=(1, 2, 3)), dim=-1)
    jacobian = torch.linalg.det(gradients + torch.eye(3))
    assert jacobian.min() > 0


def test_bending_shifts_by_whole_voxels_where_all_points_agree():
    labels = random_labels(1, 12, 10, 8)
    weights = [spline_weights(n, 4) for n in (12, 10, 8)]
    control = torch.zeros((1, 3, *(w.shape[1] for w in weights)))
    control[:, 1] = 2
    field = bend(control, weights, source_size=(12, 10, 8))
    theta = normalized_theta(
        torch.eye(3)[None], source_size=(12, 10, 8), patch_size=(12, 10, 8)
    )
    images = labels[:, None].float()
    _, moved = resample(
        images, labels, theta, patch_size=(12, 10, 8), displacements=field
    )
    assert torch.equal(moved[:, :, :8], labels[:, :, 2:])
    assert moved[:, :, 8:].sum() == 0


def test_centring_cuts_and_pads():
    labels = random_labels(1, 4, 5)
    got = center_on(labels, (2, 7))
    assert torch.equal(got[:, :, 1:6], labels[:, 1:3])
    assert got[:, :, 0].sum() == got[:, :, 6].sum() == 0
