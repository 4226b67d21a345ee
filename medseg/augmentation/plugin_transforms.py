"""Transforms by path, after our own: of whole batches, or MONAI's for each patch.

MONAI's work on one patch at a time, on threads of the CPU. Each gets a seed of its own
that follows from the step and the number of the patch, so that neither the number of
threads nor of processes changes what comes out.
"""

import copy
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medseg.augmentation.settings import TransformSettings
from medseg.errors import PluginError
from medseg.plugins import find, parameters_of

KEYS = ("image", "label")
"""What dictionary transforms find the patch under."""


class Transforms:
    """A chain of transforms, built once for a run."""

    def __init__(
        self, settings: Sequence[TransformSettings], *, workers: int | None = None
    ) -> None:
        """Builds the chain.

        Args:
            settings: One block for each transform, in order.
            workers: Threads; None takes as many as torch.

        Raises:
            PluginError: One cannot be found or built, or would move the image alone.
        """
        steps = [_Step(block) for block in settings]
        self._parts = [
            (per_patch, tuple(part))
            for per_patch, part in groupby(steps, key=lambda step: step.per_patch)
        ]
        count = workers or torch.get_num_threads()
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="transforms")
        self._own = threading.local()

    def __call__(
        self, images: Tensor, labels: Tensor, *, seed: int, first: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Changed copies of a batch, on the device it lies on.

        Args:
            images: Shape (N, C, *spatial), float32.
            labels: Label indices, shape (N, *spatial), uint8.
            seed: Of the step.
            first: Number of the first patch among those of the step.

        Raises:
            PluginError: A transform failed, changed the size, or mixed labels.
        """
        for number, (per_patch, steps) in enumerate(self._parts):
            if not per_patch:
                for place, step in enumerate(steps):
                    key = [seed, first, number, place]
                    images, labels = _whole(step, images, labels, seed=_seed(key))
                continue
            device = images.device
            work = [
                (number, image, label, [seed, number, first + index])
                for index, (image, label) in enumerate(
                    zip(images.cpu(), labels.cpu(), strict=True)
                )
            ]
            done = list(self._pool.map(lambda one: self._patch(*one), work))
            images = torch.stack([image for image, _ in done]).to(device)
            labels = torch.stack([label for _, label in done]).to(device)
        return images, labels

    def _patch(
        self, number: int, image: Tensor, label: Tensor, key: list[int]
    ) -> tuple[Tensor, Tensor]:
        """One patch through the copies of this thread."""
        chains: dict[int, tuple[_Step, ...]] = getattr(self._own, "chains", {})
        if number not in chains:
            chains[number] = copy.deepcopy(self._parts[number][1])
            self._own.chains = chains
        steps = chains[number]
        for place, step in enumerate(steps):
            image, label = step.change(image, label, seed=_seed([*key, place]))
        return image, label


class _Step:
    """One transform and what it is."""

    def __init__(self, settings: TransformSettings) -> None:
        self.name = settings.name
        plugin = find(settings.name, kind="transforms")
        self.transform = plugin.function(**settings.args)
        kinds = set(_kinds(self.transform))
        self.per_patch = "Transform" in kinds
        self.is_dictionary = "MapTransform" in kinds
        if not callable(self.transform):
            kind = type(self.transform).__name__
            raise PluginError(f"transform {self.name}: {kind} is not callable")
        if self.per_patch and not self.is_dictionary and "LazyTransform" in kinds:
            raise PluginError(
                f"transform {self.name}: moves voxels, and would move those of the "
                "image alone; take the dictionary form (with a d at the end of its "
                f"name) and args: {{keys: {list(KEYS)}}}"
            )

    def change(
        self, image: Tensor, label: Tensor, *, seed: int
    ) -> tuple[Tensor, Tensor]:
        """A patch, image (C, *spatial) and label (*spatial), changed."""
        randomize = getattr(self.transform, "set_random_state", None)
        if randomize is not None:
            randomize(seed=seed % 2**32)
        try:
            if self.is_dictionary:
                found = self.transform({KEYS[0]: image, KEYS[1]: label[None]})
                moved, marked = found[KEYS[0]], found[KEYS[1]][0]
            else:
                moved, marked = self.transform(image), label
        except Exception as error:  # whatever its code raises
            raise PluginError(
                f"transform {self.name}: on an image {tuple(image.shape)}: "
                f"{type(error).__name__}: {str(error)[:300]}"
            ) from error
        return self._checked(image, label, moved, marked)

    def _checked(
        self, image: Tensor, label: Tensor, moved: Any, marked: Any
    ) -> tuple[Tensor, Tensor]:
        moved = torch.as_tensor(_plain(moved)).float()
        marked = torch.as_tensor(_plain(marked))
        if moved.shape != image.shape or marked.shape != label.shape:
            raise PluginError(
                f"transform {self.name}: expected patches to keep their size, image "
                f"{tuple(image.shape)} and label {tuple(label.shape)}; found "
                f"{tuple(moved.shape)} and {tuple(marked.shape)}"
            )
        if marked.is_floating_point():
            known = {0, *np.unique(label.numpy()).tolist()}
            if not set(np.unique(marked.numpy()).tolist()) <= known:
                raise PluginError(
                    f"transform {self.name}: mixed label values; give the label "
                    "nearest neighbours, as in args: {mode: [bilinear, nearest]}"
                )
        return moved.contiguous(), marked.to(label.dtype).contiguous()


def _whole(
    step: _Step, images: Tensor, labels: Tensor, *, seed: int
) -> tuple[Tensor, Tensor]:
    """A batch through a transform of batches."""
    arguments: dict[str, Any] = {}
    if "generator" in parameters_of(step.transform):
        arguments["generator"] = torch.Generator().manual_seed(seed)
    shapes = images.shape, labels.shape
    found = step.transform(images, labels, **arguments)
    if not isinstance(found, tuple) or len(found) != 2:
        raise PluginError(
            f"transform {step.name}: expected (images, labels), found "
            f"{type(found).__name__}"
        )
    if (found[0].shape, found[1].shape) != shapes:
        raise PluginError(
            f"transform {step.name}: expected images {tuple(shapes[0])} and labels "
            f"{tuple(shapes[1])}, found {tuple(found[0].shape)} and "
            f"{tuple(found[1].shape)}"
        )
    return found[0], found[1].to(labels.dtype)


def _kinds(transform: Any) -> Iterable[str]:
    """Which of MONAI's kinds a transform, or any that a chain holds, is of."""
    for one in (transform, *getattr(transform, "transforms", ())):
        for kind in type(one).__mro__:
            if kind.__module__.startswith("monai.transforms"):
                yield "Transform" if kind.__name__ == "Compose" else kind.__name__


def _plain(value: Any) -> Any:
    """A tensor without MONAI's metadata."""
    as_tensor = getattr(value, "as_tensor", None)
    return value if as_tensor is None else as_tensor()


def _seed(key: Sequence[int]) -> int:
    return int(
        np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1)
    )
