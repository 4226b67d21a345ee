"""Labels by blocks are those of resampling every class as a whole."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from skimage.transform import resize

from medseg.inference.nnunet import decision
from medseg.inference.nnunet.decision import decide
from medseg.inference.nnunet.resample import Resize
from medseg.nnunet_recipe import NnUNetResampling

HOW = NnUNetResampling(order=1)


def smooth(classes: int, shape: tuple[int, ...], *, seed: int) -> torch.Tensor:
    """Logits that change slowly, with plateaus and ties."""
    random = np.random.default_rng(seed)
    coarse = random.normal(0, 3, size=(classes, *(n // 3 + 2 for n in shape)))
    found = np.stack([resize(one, shape, 1, mode="edge") for one in coarse])
    found[:, : shape[0] // 3] = np.round(found[:, : shape[0] // 3])
    return torch.from_numpy(found).half()


def in_slabs(logits: torch.Tensor, resampling: Resize, order: Any = ()) -> np.ndarray:
    """Labels from slabs of uneven depth."""
    rows = logits.shape[1]
    cuts = sorted({0, 1, rows // 2, min(rows // 2 + 1, rows), rows})
    slabs = [logits[:, a:b] for a, b in itertools.pairwise(cuts)]
    return decide(slabs, logits.shape[1:], resampling, region_order=order)


def as_nnunet_does(logits: torch.Tensor, shape: tuple[int, ...]) -> np.ndarray:
    return np.stack(
        [
            resize(one.astype(float), shape, 1, mode="edge", anti_aliasing=False)
            if one.shape != shape
            else one
            for one in logits.numpy()
        ]
    ).astype(np.float16)


@pytest.mark.parametrize("block", [4, 16])
@pytest.mark.parametrize(
    ("shape", "new"),
    [
        ((13, 9, 20), (26, 18, 40)),
        ((13, 9, 20), (31, 17, 23)),
        ((24, 17, 5), (11, 17, 3)),
        ((6, 5, 4), (6, 5, 4)),
        ((1, 20, 17), (1, 33, 40)),
    ],
)
def test_classes(
    shape: tuple[int, int, int],
    new: tuple[int, int, int],
    block: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(decision, "BLOCK", block)
    logits = smooth(7, shape, seed=sum(shape))
    logits[3] = logits[2]  # of equals the first wins
    found = in_slabs(logits, Resize(HOW, new, None))
    np.testing.assert_array_equal(found, as_nnunet_does(logits, new).argmax(0))
    assert len(np.unique(found)) > 2


def test_regions_are_painted_in_order() -> None:
    logits = smooth(3, (11, 12, 9), seed=5)
    new = (17, 12, 20)
    expected = np.zeros(new, int)
    order = (1, 2, 5)
    for one, value in zip(as_nnunet_does(logits, new), order, strict=True):
        expected[1 / (1 + np.exp(-one.astype(np.float64))) > 0.5] = value
    found = in_slabs(logits, Resize(HOW, new, None), order)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_are_copied_along_the_long_axis(axis: int) -> None:
    logits = smooth(4, (7, 8, 9), seed=2)
    new = (15, 5, 13)
    flat = tuple(n for number, n in enumerate(new) if number != axis)
    wanted = []
    for one in logits.numpy().astype(float):
        slices = np.moveaxis(one, axis, 0)
        within = [resize(s, flat, 1, mode="edge", anti_aliasing=False) for s in slices]
        count = new[axis]
        nearest = np.floor((np.arange(count) + 0.5) * len(slices) / count).astype(int)
        wanted.append(np.moveaxis(np.stack(within)[nearest], 0, axis))
    expected = np.stack(wanted).astype(np.float16).argmax(0)
    found = in_slabs(logits, Resize(HOW, new, axis))
    np.testing.assert_array_equal(found, expected)


def test_other_orders_take_the_whole() -> None:
    logits = smooth(3, (8, 9, 7), seed=9)
    cubic = Resize(NnUNetResampling(order=3), (13, 9, 10), None)
    resized = [
        resize(one.astype(float), (13, 9, 10), 3, mode="edge", anti_aliasing=False)
        for one in logits.numpy()
    ]
    expected = np.stack(resized).astype(np.float16).argmax(0)
    np.testing.assert_array_equal(in_slabs(logits, cubic), expected)
