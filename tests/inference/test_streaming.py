"""Streaming gives what the plain way over whole volumes gives."""

import itertools

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_networks import CPU, TURNS, plan, random_network
from whole_volume import export_label_map, sliding_window_logits

from medseg.geometry import affine_from_spacing
from medseg.inference.predictor import Predictor
from medseg.inference.settings import InferenceSettings
from medseg.inference.streaming import stream_rows
from medseg.inference.tiling import blended_tiling
from medseg.preparation import preprocess
from medseg.volume import Volume


@settings(max_examples=60)
@given(
    shape=st.tuples(st.integers(3, 20), st.integers(3, 20), st.integers(2, 20)),
    target=st.lists(st.sampled_from([0.7, 1.0, 1.6]), min_size=3, max_size=3),
    window=st.lists(st.integers(4, 12), min_size=2, max_size=3),
    overlap=st.sampled_from([0.0, 0.3, 0.5]),
    turn=st.sampled_from(TURNS),
    classes=st.integers(2, 5),
    batch=st.integers(1, 3),
)
def test_streaming_equals_the_whole_volume(
    shape: tuple[int, int, int],
    target: list[float],
    window: list[int],
    overlap: float,
    turn: np.ndarray,
    classes: int,
    batch: int,
) -> None:
    flat = len(window) == 2
    spacing = (target[0], target[1], 0.0 if flat else target[2])
    made = plan(spacing, tuple(window), classes)
    affine = affine_from_spacing((1.0, 1.0, 1.0))
    affine[:3, :3] = turn
    image = np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32)
    network = random_network(len(window), classes)
    predictor = Predictor(
        network, made, CPU, InferenceSettings(overlap=overlap, batch_size=batch)
    )
    prepared = preprocess(Volume(image, affine), made)
    batched = torch.from_numpy(prepared.image)
    batched = batched.permute(3, 0, 1, 2) if flat else batched.unsqueeze(0)
    with torch.no_grad():
        logits = sliding_window_logits(
            network, batched, window_size=window, overlap=overlap
        )
    logits = logits.permute(1, 2, 3, 0) if flat else logits[0]
    assert torch.allclose(predictor.logits(prepared.image), logits, atol=1e-5)
    reference = export_label_map(logits, prepared.placement, made.labels)
    result = predictor.predict(Volume(image, affine))
    # a tie broken by the last bit may fall otherwise
    assert (result.voxels != reference.voxels).mean() < 1e-3
    assert result.grid.mismatch(reference.grid) == ""


@settings(max_examples=40)
@given(
    shape=st.lists(st.integers(6, 14), min_size=3, max_size=3),
    axis=st.integers(0, 2),
    corner=st.lists(st.integers(0, 4), min_size=3, max_size=3),
)
def test_a_region_has_the_logits_it_has_in_the_whole(
    shape: list[int], axis: int, corner: list[int]
) -> None:
    image = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))
    tiling = blended_tiling(shape, window=(6, 5, 4), overlap=0.5, axis=axis)
    network = random_network(3, 2)
    region = tuple(slice(c, n) for c, n in zip(corner, shape, strict=True))
    with torch.no_grad():
        parts = [
            [rows.logits() for rows in stream_rows(network, image, tiling, region=box)]
            for box in (None, region)
        ]
    whole, some = (torch.cat(part, dim=axis + 1) for part in parts)
    assert torch.allclose(whole[(slice(None), *region)], some, atol=1e-5)


def test_sums_are_as_deep_as_a_window_however_long_the_scan() -> None:
    image = torch.zeros(1, 100, 8, 8)
    tiling = blended_tiling((100, 8, 8), window=(10, 8, 8), overlap=0.5)
    rows = list(stream_rows(lambda x: x, image, tiling))
    assert max(part.sums.untyped_storage().nbytes() for part in rows) <= 4 * 64 * 12
    news = [(part.new, part.stop) for part in rows]
    assert [stop for _, stop in news[:-1]] == [new for new, _ in news[1:]]
    assert (news[0][0], news[-1][1]) == (0, 100)
    assert all(part.first == max(part.new - 1, 0) for part in rows)
    assert list(itertools.chain(*news)) == sorted(itertools.chain(*news))
