from pathlib import Path

import pytest
import torch
from torch import nn

from medseg.golden import (
    golden_image,
    golden_logits,
    golden_size,
    kept_voxels,
    read_golden,
    write_golden,
)


def test_the_image_is_the_same_every_time_and_spans_the_range() -> None:
    image = golden_image([(-2.0, 3.0), (0.0, 1.0)], (24, 20, 16), count=2)
    again = golden_image([(-2.0, 3.0), (0.0, 1.0)], (24, 20, 16), count=2)
    assert image.shape == (2, 2, 24, 20, 16)
    assert torch.equal(image, again)
    assert not torch.equal(image[0], image[1])
    assert float(image[:, 0].min()) == -2.0
    assert 1.0 < float(image[:, 0].max()) <= 3.0


@pytest.mark.parametrize(
    ("patch", "size"), [((96, 40, 8), (48, 40, 8)), ((512, 64), (192, 64))]
)
def test_size_is_bounded(patch: tuple[int, ...], size: tuple[int, ...]) -> None:
    assert golden_size(patch) == size


def test_what_was_kept_comes_back(tmp_path: Path) -> None:
    network = nn.Conv3d(1, 3, 3, padding=1)
    logits = golden_logits(network, golden_image([(0, 1)], (16, 16, 16)))
    write_golden(tmp_path / "golden", logits)
    kept = read_golden(tmp_path / "golden", size=(16, 16, 16))
    assert kept is not None
    assert torch.equal(kept, kept_voxels(logits))
    assert network.training


def test_another_size_or_no_file_gives_nothing(tmp_path: Path) -> None:
    write_golden(tmp_path / "golden", torch.zeros(1, 2, 8, 8))
    assert read_golden(tmp_path / "golden", size=(9, 8)) is None
    assert read_golden(tmp_path / "absent", size=(8, 8)) is None
