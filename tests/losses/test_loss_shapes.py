"""Losses that look at the shape of a region, on shapes known by hand."""

import pytest
import torch

from medseg.losses import shapes
from medseg.losses.shapes import signed_distances, soft_skeleton


def test_signed_distance_of_a_bar():
    mask = torch.zeros(1, 1, 1, 7)
    mask[..., 2:5] = 1
    expected = [2.0, 1.0, 0.0, -1.0, 0.0, 1.0, 2.0]
    assert signed_distances(mask).flatten().tolist() == expected


def test_no_distance_without_a_border():
    assert signed_distances(torch.zeros(1, 1, 4, 4)).abs().sum() == 0
    assert signed_distances(torch.ones(1, 1, 4, 4)).abs().sum() == 0


def test_skeleton_of_a_thick_bar_is_its_middle_line():
    bar = torch.zeros(1, 1, 9, 15)
    bar[..., 3:6, 2:13] = 1
    line = soft_skeleton(bar, iterations=3)[0, 0]
    assert line[4, 3:12].tolist() == [1.0] * 9
    assert line.sum() == 9


@pytest.mark.parametrize("most_sums", [2**26, 500])
@pytest.mark.parametrize("shape", [(2, 3, 13, 9), (2, 2, 7, 6, 11)])
def test_distances_of_a_gpu_are_those_of_the_library(
    shape: tuple[int, ...], most_sums: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shapes, "MOST_SUMS", most_sums)
    generator = torch.Generator().manual_seed(0)
    for share in (0.02, 0.5, 0.98):
        masks = (torch.rand(shape, generator=generator) < share).float()
        masks[0, 0], masks[1, 1] = 0, 1  # absent, and everywhere
        found = shapes.signed_distances_on_device(masks)
        expected = signed_distances(masks)
        assert found.dtype == masks.dtype
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
        assert found[0, 0].abs().sum() == 0 == found[1, 1].abs().sum()


def test_squared_distances_of_one_voxel() -> None:
    marked = torch.zeros(4, 5, dtype=torch.bool)
    marked[1, 3] = True
    i, j = torch.meshgrid(torch.arange(4), torch.arange(5), indexing="ij")
    expected = ((i - 1) ** 2 + (j - 3) ** 2).float()
    assert torch.equal(shapes.squared_distances(marked, spatial_dims=2), expected)
