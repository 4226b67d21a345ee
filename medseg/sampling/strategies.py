"""Sampling strategies: by case, by structure, by lesion, by the share of a patch."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, cast, get_args

import numpy as np

from medseg.errors import PluginError
from medseg.files import hash_text
from medseg.plugins import find
from medseg.sampling.settings import SamplingSettings, Strategy
from medseg.sampling.strategy import (
    Choice,
    Chooser,
    NextCase,
    draw_weighted,
    structures_of,
    voxel_of_class,
)
from medseg.store import StoredCase
from medseg.store.voxel_index import BLOCK
from medseg.types import Shape

MEMORY = 0.7
"""Share of a case's running loss that stays when a new loss comes in."""
LEAST_SHARE = 0.2
"""Share of draws in which all cases have the same chance, so that none is lost."""


class Uniform(Chooser):
    """Any place of any case."""

    def choose(self, rng: np.random.Generator, next_case: NextCase) -> Choice | None:
        """None: case and place are drawn uniformly."""
        del rng, next_case
        return None


class Foreground(Chooser):
    """A case, one of the structures it shows, a voxel of it, as nnU-Net does."""

    def __init__(
        self, cases: Sequence[StoredCase], patch_size: Shape, settings: SamplingSettings
    ) -> None:
        """Notes which case shows what."""
        super().__init__(cases, patch_size, settings)
        self._structures = [structures_of(case) for case in cases]

    def choose(self, rng: np.random.Generator, next_case: NextCase) -> Choice | None:
        """A voxel of the next case."""
        return self._in_case(next_case(), rng)

    def _in_case(self, number: int, rng: np.random.Generator) -> Choice:
        """A voxel of a case; any place where it shows nothing."""
        present = self._structures[number]
        if not present:
            return Choice(number)
        label = present[int(rng.integers(len(present)))]
        return voxel_of_class(self.cases[number], number, label, rng)


class HardExample(Foreground):
    """As `Foreground`, cases in proportion to their running loss."""

    def __init__(
        self, cases: Sequence[StoredCase], patch_size: Shape, settings: SamplingSettings
    ) -> None:
        """Starts with equal weights, as no loss is known yet."""
        super().__init__(cases, patch_size, settings)
        self._losses: dict[str, float] = {}

    def choose(self, rng: np.random.Generator, next_case: NextCase) -> Choice | None:
        """A voxel of a case drawn by its weight."""
        del next_case
        return self._in_case(draw_weighted(np.cumsum(self.weights()), rng), rng)

    def weights(self) -> np.ndarray:
        """Chance of each case; one without a loss counts as the hardest known."""
        hardest = max(self._losses.values(), default=1.0)
        losses = [self._losses.get(case.case_id, hardest) for case in self.cases]
        raised = np.maximum(losses, 1e-6) ** self.settings.power
        share = raised / raised.sum()
        return np.asarray((1 - LEAST_SHARE) * share + LEAST_SHARE / len(self.cases))

    def report_loss(self, case_id: str, loss: float) -> None:
        """Moves the case's running loss towards a new one; NaN is left out."""
        if np.isfinite(loss):
            known = self._losses.get(case_id, loss)
            self._losses[case_id] = MEMORY * known + (1 - MEMORY) * loss

    def state_dict(self) -> dict[str, Any]:
        """Running loss by case."""
        return {"losses": dict(self._losses)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on with the losses that `state_dict` held."""
        self._losses = dict(state["losses"])


class ClassBalanced(Chooser):
    """Each structure equally often, then any case that shows it, then a voxel."""

    def __init__(
        self, cases: Sequence[StoredCase], patch_size: Shape, settings: SamplingSettings
    ) -> None:
        """Notes which case shows how much of what."""
        super().__init__(cases, patch_size, settings)
        self._voxels = np.asarray([case.num_voxels for case in cases], dtype=float)
        self._voxels[:, 0] = 0
        self.class_edges = np.cumsum(self.class_weights(self._voxels.sum(axis=0)))
        self._case_edges = np.cumsum(self.case_weights(self._voxels), axis=0)

    def choose(self, rng: np.random.Generator, next_case: NextCase) -> Choice | None:
        """A voxel of a class drawn by its weight; None if no case shows any."""
        del next_case
        if not self.class_edges[-1]:
            return None
        label = draw_weighted(self.class_edges, rng)
        number = draw_weighted(self._case_edges[:, label], rng)
        return voxel_of_class(self.cases[number], number, label, rng)

    def class_weights(self, voxels: np.ndarray) -> np.ndarray:
        """Probability of drawing each class, given its voxels in all cases."""
        return (voxels > 0).astype(float)

    def case_weights(self, voxels: np.ndarray) -> np.ndarray:
        """Chance of each case for each class, given its voxels, shape (cases, L)."""
        return (voxels > 0).astype(float)


class InverseFrequency(ClassBalanced):
    """Each structure in inverse proportion to its voxels, then any voxel of it."""

    def class_weights(self, voxels: np.ndarray) -> np.ndarray:
        """One over the voxels, to the power of the settings."""
        present = voxels > 0
        rarest = voxels[present].min(initial=np.inf)
        weights = np.zeros_like(voxels)
        weights[present] = (rarest / voxels[present]) ** self.settings.power
        return weights

    def case_weights(self, voxels: np.ndarray) -> np.ndarray:
        """In proportion to voxels, so that each voxel of a class is alike."""
        return voxels


class LesionBalanced(Chooser):
    """Each size bin equally often, then any component in it, then a voxel of it.

    A lesion of 10 voxels among lesions of 10,000 is so drawn as often as all of those
    together, where sampling by voxel would show it once in thousands of patches.
    """

    def __init__(
        self, cases: Sequence[StoredCase], patch_size: Shape, settings: SamplingSettings
    ) -> None:
        """Lists the components of all cases by size."""
        super().__init__(cases, patch_size, settings)
        tables = [case.index.lesions for case in cases]
        owner = np.repeat(np.arange(len(cases)), [len(table) for table in tables])
        row = np.concatenate([np.arange(len(table)) for table in tables])
        sizes = np.concatenate([table["voxels"] for table in tables])
        bins = size_bin(sizes, settings.size_bins)
        self.groups = [
            np.stack([owner[bins == number], row[bins == number]], axis=1)
            for number in np.unique(bins)
        ]

    def choose(self, rng: np.random.Generator, next_case: NextCase) -> Choice | None:
        """A voxel of any component of any size bin; None if there is none."""
        del next_case
        if not self.groups:
            return None
        group = self.groups[int(rng.integers(len(self.groups)))]
        number, row = (int(value) for value in group[rng.integers(len(group))])
        index = self.cases[number].index
        lesion = index.lesions[row]
        positions = index.of_lesion(lesion)
        voxel = positions[rng.integers(len(positions))]
        return Choice(number, int(lesion["label"]), voxel)


def size_bin(voxels: np.ndarray, size_bins: Sequence[int]) -> np.ndarray:
    """Number of the bin of each size; a size at an edge belongs to the upper bin."""
    return np.searchsorted(np.asarray(size_bins), voxels, side="right")


def bin_names(size_bins: Sequence[int]) -> list[str]:
    """What each bin holds, such as ``"10 to 99"``, in voxels."""
    edges = [*size_bins]
    if not edges:
        return ["any"]
    inner = [f"{a} to {b - 1}" for a, b in pairwise(edges)]
    return [f"under {edges[0]}", *inner, f"{edges[-1]} or more"]


MOST_CORNERS = 4096
"""Places kept of a case; a sample of those that hold enough above that."""


class AnyForeground(Chooser):
    """Any patch that holds at least a share of structures, found without trying.

    An integral image over the block counts of the store says how many structure
    voxels lie in the whole blocks of each patch: never more than the patch holds, so
    every place kept keeps the promise. Where no patch of a case holds enough, those
    that hold most of it are taken; a case without structures is taken anywhere.
    """

    def __init__(
        self, cases: Sequence[StoredCase], patch_size: Shape, settings: SamplingSettings
    ) -> None:
        """Starts with an empty cache; a case is indexed when it is first drawn."""
        super().__init__(cases, patch_size, settings)
        self._corners: dict[int, np.ndarray] = {}

    def choose(self, rng: np.random.Generator, next_case: NextCase) -> Choice | None:
        """A place in the next case."""
        number = next_case()
        corners = self.corners(number)
        if not len(corners):
            return Choice(number)
        corner = corners[rng.integers(len(corners))].tolist()
        return Choice(number, corner=self._moved(corner, number, rng))

    def corners(self, number: int) -> np.ndarray:
        """Places of a case that hold enough, shape (n, 3)."""
        if number not in self._corners:
            case = self.cases[number]
            least = self.settings.min_fraction * float(np.prod(self.patch_size))
            found = find_corners(case.blocks, case.shape, self.patch_size, least=least)
            rng = np.random.default_rng(int(hash_text(case.case_id)[:8], 16))
            if len(found) > MOST_CORNERS:
                found = rng.choice(found, MOST_CORNERS, replace=False)
            self._corners[number] = found
        return self._corners[number]

    def _moved(
        self, corner: list[int], number: int, rng: np.random.Generator
    ) -> list[int]:
        """Anywhere along an axis on which the patch holds all of the case."""
        shape = self.cases[number].shape
        return [
            int(rng.integers(length - size, 1)) if size > length else start
            for start, size, length in zip(corner, self.patch_size, shape, strict=True)
        ]


def find_corners(
    blocks: np.ndarray, shape: Shape, patch_size: Shape, *, least: float
) -> np.ndarray:
    """Corners whose patch holds at least so many structure voxels, shape (n, 3).

    If none does, those that hold most; none where there are no structures.

    Args:
        blocks: Structure voxels in each block of the case.
        shape: Voxels of the case.
        patch_size: Voxels of the patch.
        least: Structure voxels to hold.
    """
    if not blocks.any():
        return np.empty((0, 3), dtype=np.int64)
    total = np.zeros(np.asarray(blocks.shape) + 1, dtype=np.int64)
    total[1:, 1:, 1:] = blocks.cumsum(0, dtype=np.int64).cumsum(1).cumsum(2)
    ranges = [
        _block_ranges(length, size, block)
        for length, size, block in zip(shape, patch_size, BLOCK, strict=True)
    ]
    for axis, (_, first, last) in enumerate(ranges):
        total = total.take(last, axis) - total.take(first, axis)
    enough = total >= min(least, total.max())
    starts = [start for start, _, _ in ranges]
    where = np.nonzero(enough)
    return np.stack([s[w] for s, w in zip(starts, where, strict=True)], axis=1)


def _block_ranges(
    length: int, size: int, block: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Corners along one axis, and the whole blocks that lie inside the patch.

    Corners are a block apart, and the last one ends with the case.
    """
    last_corner = max(length - size, 0)
    corners = np.unique(np.append(np.arange(0, last_corner, block), last_corner))
    first = -(-corners // block)
    ends = np.minimum(corners + size, length)
    last = np.where(ends == length, -(-length // block), ends // block)
    return corners, first, np.maximum(last, first)


STRATEGIES: dict[Strategy, type[Chooser]] = {
    "uniform": Uniform,
    "foreground": Foreground,
    "class_balanced": ClassBalanced,
    "inverse_frequency": InverseFrequency,
    "lesion_balanced": LesionBalanced,
    "any_foreground": AnyForeground,
    "hard_example": HardExample,
}


def build_strategy(
    cases: Sequence[StoredCase], patch_size: Shape, settings: SamplingSettings
) -> Chooser:
    """The strategy that settings name.

    Args:
        cases: Prepared cases.
        patch_size: Voxels along (i, j, k).
        settings: Name and numbers.

    Raises:
        PluginError: One by path cannot be found or built, or is no `Chooser`.
    """
    name = settings.strategy
    if name in get_args(Strategy):
        return STRATEGIES[cast(Strategy, name)](cases, patch_size, settings)
    plugin = find(name, kind="samplers")
    made = plugin.build(cases, patch_size, settings, **settings.args)
    if not isinstance(made, Chooser):
        raise PluginError(
            f"sampler {name}: expected a subclass of medseg.sampling.Chooser, found "
            f"{type(made).__name__}"
        )
    return made
