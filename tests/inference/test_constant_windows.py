"""Windows of one value are found before any is computed, and answered once."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from medseg.inference.exact_tiling import ExactAxis, exact_tiling
from medseg.inference.streaming import WindowCount, constant_values, stream_rows
from medseg.inference.tiling import Tiling, blended_tiling, take


def one_by_one(image: Tensor, tiling: Tiling) -> list[tuple[float, ...] | None]:
    """What each window holds, looked at as it would be cut out."""
    found: list[tuple[float, ...] | None] = []
    for tile in tiling.tiles:
        window = take(image, tile.source, tiling.beyond).flatten(1)
        same = bool((window == window[:, :1]).all())
        found.append(tuple(window[:, 0].tolist()) if same else None)
    return found


@settings(max_examples=100)
@given(
    shape=st.lists(st.integers(1, 20), min_size=2, max_size=3),
    kind=st.sampled_from(["blended", "halo", "unpadded"]),
    overlap=st.sampled_from([0.0, 0.5]),
    fill=st.sampled_from([0.0, -1.5]),
    noisy=st.integers(0, 3),
    not_a_number=st.booleans(),
)
def test_the_windows_are_those_that_looking_at_each_finds(
    shape: list[int],
    kind: str,
    overlap: float,
    fill: float,
    noisy: int,
    not_a_number: bool,
) -> None:
    image = torch.full((2, *shape), fill)
    image[1] += 1
    generator = torch.Generator().manual_seed(0)
    for _ in range(noisy):
        place = [int(torch.randint(n, (), generator=generator)) for n in shape]
        image[(0, *place)] = float("nan") if not_a_number else 7.0
    if kind == "blended":
        tiling: Tiling | None = blended_tiling(
            shape, window=[6] * len(shape), overlap=overlap
        )
    else:
        axis = (
            ExactAxis(divisor=2, halo=2)
            if kind == "halo"
            else ExactAxis(divisor=2, margin=2, stem=6)
        )
        tiling = exact_tiling(shape, [axis] * len(shape), window=[8] * len(shape))
    assert tiling is not None
    found = constant_values(image, tiling.tiles, tiling.beyond)
    assert found == one_by_one(image, tiling)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_windows_of_one_value_are_computed_once(batch_size: int) -> None:
    image = torch.zeros(1, 40, 8, 8)
    image[:, 16:24] = torch.arange(8.0)  # differs along the last axis
    image[:, 24:] = 5.0
    computed: list[float] = []

    def network(batch: Tensor) -> Tensor:
        computed.extend(batch.flatten(1).std(dim=1).tolist())
        return 2 * batch

    tiling = blended_tiling((40, 8, 8), window=(8, 8, 8), overlap=0.0)
    count = WindowCount()
    rows = stream_rows(network, image, tiling, batch_size=batch_size, count=count)
    logits = torch.cat([part.logits() for part in rows], dim=1)
    assert torch.allclose(logits, 2 * image)
    assert len(computed) == 3  # zeros, the window in the middle, fives
    assert (count.num_windows, count.num_repeated) == (5, 2)
