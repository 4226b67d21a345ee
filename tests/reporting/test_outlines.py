"""Pictures with outlines: a colour for each object, and those of structures."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medseg.labels import LabelScheme
from medseg.reporting.outlines import write_object_outlines, write_structure_outlines
from medseg.structure_colors import rgb_of


def grid_of_cells(size: int = 8, count: int = 6) -> np.ndarray:
    """Squares side by side, each an object, in the order of rows; 9 means outside."""
    numbers = np.arange(1, count * count + 1).reshape(count, count)
    numbers[numbers >= 9] += 1
    labels = numbers.repeat(size, axis=0).repeat(size, axis=1)
    labels[:, -3:] = 9
    return labels.astype(np.uint16)


def drawn(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path)).transpose(1, 0, 2)


@pytest.mark.parametrize("channels", [1, 3])
def test_objects_that_touch_are_outlined_in_different_colours(
    tmp_path: Path, channels: int
) -> None:
    labels = grid_of_cells()
    image = np.full((channels, *labels.shape), 100, np.uint8)
    image[:, 0, 0], image[:, -1, -1] = 0, 255
    write_object_outlines(tmp_path / "a.png", image, labels, background=9)
    found = drawn(tmp_path / "a.png")
    corners = found[::8, ::8].astype(int)  # of each square, on its outline
    assert (corners[1:] != corners[:-1]).any(-1).all()
    assert (corners[:, 1:] != corners[:, :-1]).any(-1).all()
    assert (corners[1:, 1:] != corners[:-1, :-1]).any(-1).all()
    assert len(np.unique(corners.reshape(-1, 3), axis=0)) >= 6
    inside = found[12, 12]
    assert len(set(inside.tolist())) == 1  # grey, as it was
    outside = found[12, -1]
    assert outside.tolist() == inside.tolist()


def test_structures_are_outlined_in_the_colours_of_pages(tmp_path: Path) -> None:
    scheme = LabelScheme(names={"road": 7, "car": 0}, background=3)
    labels = np.full((20, 20), 3, np.int16)
    labels[2:8, 2:8] = 7
    labels[10:16, 10:16] = 0
    image = np.random.default_rng(0).integers(0, 99, (3, 20, 20)).astype(np.uint8)
    write_structure_outlines(tmp_path / "a.png", image, labels, scheme=scheme)
    found = drawn(tmp_path / "a.png")
    assert tuple(found[2, 2]) == rgb_of(1)
    assert tuple(found[10, 12]) == rgb_of(2)
    assert tuple(found[4, 4]) not in {rgb_of(1), rgb_of(2)}
