"""Outlines of a picture in tiles are those of the picture at once."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from scipy.ndimage import gaussian_filter, label

from medseg.instances.object_colouring import neighbours
from medseg.instances.object_palette import object_colours
from medseg.instances.stitching import TileGrid
from medseg.prediction import slide_outlines
from medseg.prediction.slide_outlines import SlideOutlines
from medseg.reporting.outlines import span_of, write_object_outlines


@pytest.mark.parametrize("channels", [1, 3])
def test_tiles_draw_what_the_whole_draws(
    tmp_path: Path, channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slide_outlines, "COARSEST", 100)
    monkeypatch.setattr(slide_outlines, "STEP", 64)
    shape = (301, 190)
    noise = np.random.default_rng(0).normal(size=(channels, *shape))
    image = (gaussian_filter(noise, (0, 5, 5)) * 3e4 + 3e4).astype(np.uint16)
    labels, count = label(image[0] > 31_000)
    assert count > 20
    write_object_outlines(tmp_path / "whole.png", image, labels)
    whole = np.asarray(Image.open(tmp_path / "whole.png"))

    (tmp_path / "work").mkdir()
    colours = object_colours(count, neighbours(labels[..., None], flat=True))
    outlines = SlideOutlines(tmp_path / "work", shape, span_of(image), colours)
    for tile in TileGrid(shape, 70, 12):
        outlines.add(image[(slice(None), *tile.outer)], labels[tile.outer], tile)
    outlines.write(tmp_path / "out.tif")
    with tifffile.TiffFile(tmp_path / "out.tif") as file:
        assert file.is_ome
        levels = [level.asarray() for level in file.series[0].levels]
    np.testing.assert_array_equal(levels[0], whole)
    assert [level.shape for level in levels] == [
        (190, 301, 3),
        (95, 151, 3),
        (48, 76, 3),
    ]
    pairs = whole[10:12, 20:22].astype(float)
    np.testing.assert_allclose(levels[1][5, 10], pairs.mean((0, 1)), atol=0.5)
    np.testing.assert_allclose(
        levels[1][5, 150], whole[10:12, 300].astype(float).mean(0), atol=0.5
    )
