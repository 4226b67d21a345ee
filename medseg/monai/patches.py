"""Patches of a prepared store for MONAI's and PyTorch's data loaders."""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from medseg.errors import SettingsError
from medseg.sampling import Draw, PatchSampler, SamplingSettings, gather
from medseg.store import Store
from medseg.types import AnyPath

Transform = Callable[[dict[str, Any]], dict[str, Any]]
"""Such as `monai.transforms.Compose` of dictionary transforms."""
MOST_INDICES = 1 << 62
"""Numbers of patches end below this."""


class PatchDataset(Dataset[dict[str, Any]]):
    """Patches drawn from the cases of a store, class-balanced or otherwise.

    A patch is a function of the seed and its number alone: it does not matter which
    worker cuts it out, how many there are, or what was asked for before. The numbers
    0 to `len` are the first epoch, the next `len` numbers the second, and so on;
    `sampler` counts them up:

        loader = DataLoader(dataset, batch_size=2, sampler=dataset.sampler())

    Without it a data loader asks for the numbers below `len` in every epoch, which are
    the same patches again.

    Items are dictionaries: ``image`` (C, *patch) float32, normalised as the store's
    plan says; ``label`` (1, *patch) uint8, 255 where nothing is to be learned (the
    losses' `ignore_index`); ``case_id``; and ``corner``, the first voxel (i, j, k) of
    the patch in the prepared case.

    Examples:
        >>> import medseg
        >>> store = medseg.prepare("tiny", "stores/tiny", progress=False)
        >>> patches = medseg.monai.PatchDataset(
        ...     store, num_patches=8, patch_size=(16, 16, 16)
        ... )
        >>> patches[0]["image"].shape, patches[0]["label"].shape
        (torch.Size([1, 16, 16, 16]), torch.Size([1, 16, 16, 16]))
    """

    def __init__(
        self,
        store: Store | AnyPath,
        *,
        num_patches: int,
        fold: int | None = None,
        part: Literal["train", "val"] = "train",
        patch_size: Sequence[int] | None = None,
        sampling: SamplingSettings | None = None,
        seed: int = 0,
        transform: Transform | None = None,
    ) -> None:
        """Reads where classes and lesions lie; no voxels yet.

        Args:
            store: A folder that `medseg prepare` made, or the store opened.
            num_patches: Patches of an epoch.
            fold: Draw from the cases of a fold; from all cases by default.
            part: Which cases of the fold.
            patch_size: Voxels of a patch; the plan's by default.
            sampling: Which patches, and how often; by default each structure equally
                often over the whole data set (``class_balanced``).
            seed: Another seed gives other patches.
            transform: Applied to each item. One of MONAI's that draws random numbers
                is seeded for each patch, by its number.

        Raises:
            SettingsError: A number is wrong.
            StoreError: The folder is no store, or there is no such fold.
        """
        if num_patches < 1:
            raise SettingsError(f"num_patches is {num_patches}, expected 1 or more")
        opened = store if isinstance(store, Store) else Store.open(Path(store))
        plan = opened.plan
        size = tuple(plan.patch_size if patch_size is None else patch_size)
        if len(size) != plan.spatial_dims or min(size) < 1:
            raise SettingsError(
                f"patch_size is {size}, expected {plan.spatial_dims} numbers from 1"
            )
        names = opened.case_ids
        if fold is not None:
            names = opened.split(fold)[0 if part == "train" else 1]
        self.sampling = sampling or SamplingSettings(strategy="class_balanced")
        if self.sampling.strategy == "hard_example":
            raise SettingsError(
                "hard_example follows the losses of a run, which a data set does not "
                "see; choose another strategy"
            )
        self.case_ids = names
        self.patch_size = size
        self.seed = seed
        self.transform = transform
        self._num_patches = num_patches
        self._cases = [opened.case(name) for name in names]
        self._spatial_dims = plan.spatial_dims
        self._draws_of = lru_cache(maxsize=2)(self._draw_epoch)

    def __len__(self) -> int:
        """Patches of an epoch."""
        return self._num_patches

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The patch of a number, which may go on beyond the first epoch.

        Raises:
            IndexError: The number is negative.
        """
        if not 0 <= index < MOST_INDICES:
            raise IndexError(f"patch {index}: numbers begin with 0")
        item = self._item(self.draw(index))
        if self.transform is None:
            return item
        set_random_state = getattr(self.transform, "set_random_state", None)
        if set_random_state is not None:
            own = np.random.SeedSequence([self.seed, index]).generate_state(1)
            set_random_state(seed=int(own[0]))
        return self.transform(item)

    def __getstate__(self) -> dict[str, Any]:
        """What a worker is given: it opens files and draws anew."""
        return {name: v for name, v in self.__dict__.items() if name != "_draws_of"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Takes what `__getstate__` gave."""
        self.__dict__.update(state)
        self._draws_of = lru_cache(maxsize=2)(self._draw_epoch)

    def draw(self, index: int) -> Draw:
        """Of which case a patch is, and where it lies."""
        epoch, number = divmod(index, self._num_patches)
        return self._draws_of(epoch)[number]

    def sampler(self) -> "EpochSampler":
        """Numbers of patches for a data loader, other ones in every epoch."""
        return EpochSampler(self._num_patches)

    def _draw_epoch(self, epoch: int) -> list[Draw]:
        seeds = np.random.SeedSequence([self.seed, epoch]).generate_state(2, np.uint64)
        sampler = PatchSampler(
            self._cases,
            patch_size=self.patch_size,
            settings=self.sampling,
            seed=int(seeds[0]),
        )
        return sampler.draw(self._num_patches)

    def _item(self, draw: Draw) -> dict[str, Any]:
        batch = gather(
            self._cases,
            [draw],
            spatial_dims=self._spatial_dims,
            padding=self.sampling.padding,
        )
        return {
            "image": batch.images[0],
            "label": batch.labels,
            "case_id": draw.case_id,
            "corner": torch.tensor(draw.corner),
        }


class EpochSampler(Sampler[int]):
    """Numbers of the patches of one epoch after another.

    Every pass over a data loader is the next epoch; Lightning and others that know
    where they resume say so by `set_epoch`.
    """

    def __init__(self, num_patches: int) -> None:
        """Begins with the first epoch.

        Args:
            num_patches: Patches of an epoch.
        """
        self.num_patches = num_patches
        self.epoch = 0

    def __len__(self) -> int:
        """Patches of an epoch."""
        return self.num_patches

    def __iter__(self) -> Iterator[int]:
        """The numbers of this epoch; the next pass is the next one's."""
        first = self.epoch * self.num_patches
        self.epoch += 1
        return iter(range(first, first + self.num_patches))

    def set_epoch(self, epoch: int) -> None:
        """Which epoch comes next."""
        self.epoch = epoch
