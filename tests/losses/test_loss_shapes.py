"""Losses that look at the shape of a region, on shapes known by hand."""

import torch

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
