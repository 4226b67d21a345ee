"""A scan's label map as nnU-Net's own predictor computes it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from medseg.inference.nnunet.axes import NnUNetImage, nnunet_image
from medseg.inference.nnunet.decision import decide
from medseg.inference.nnunet.memory import (
    DecisionSizes,
    preparation_bytes,
    require_ram,
)
from medseg.inference.nnunet.preprocess import NnUNetInput, network_spacing, prepare
from medseg.inference.nnunet.probabilities import write_probabilities
from medseg.inference.nnunet.resample import Resize, new_shape
from medseg.inference.nnunet.windows import STEP, Predict, logit_slabs, mirrored
from medseg.inference.settings import InferenceSettings
from medseg.nnunet_recipe import NnUNetRecipe
from medseg.plan import Plan
from medseg.preparation.preprocessing import require_finite, with_channels
from medseg.volume import LabelMap, Volume

MANY_LABELS = 255
"""From so many structures on, nnU-Net's label maps have 16 bits."""


@dataclass(frozen=True)
class NnUNetPredictor:
    """Networks of one or several folds, and what nnU-Net does around them.

    Attributes:
        networks: One per fold, from (1, C, *spatial) to logits, in the volume's axes.
        plan: What the networks are.
        recipe: What nnU-Net does.
        device: Where the networks run.
        settings: Flips, and the overlap of windows.
        previous: The previous stage of a cascade.
        window_bytes: That a network takes for a window; matters to `max_ram` alone.
    """

    networks: tuple[Predict, ...]
    plan: Plan
    recipe: NnUNetRecipe
    device: torch.device
    settings: InferenceSettings
    previous: "NnUNetPredictor | None" = None
    window_bytes: int = 0

    has_probabilities: ClassVar[bool] = True

    def predict(
        self,
        volume: Volume,
        *,
        name: str = "scan",
        notes: list[str] | None = None,
        probabilities: Path | None = None,
    ) -> LabelMap:
        """As `ExactPredictor` says.

        Raises:
            InputError: The scan does not fit the plan.
            OutputError: The probabilities cannot be written.
            PredictionError: The logits exceed nnU-Net's float16 sums, or the scan
                takes more memory than `max_ram` allows.
        """
        if notes is not None and (left_out := self.settings.of_own_windows()):
            notes.append(f"exact mode does without {', '.join(left_out)}")
        volume = with_channels(volume, self.plan.channel_names, name=name)
        require_finite(volume.voxels, name)
        earlier = None
        if self.previous is not None:
            earlier = self.previous.predict(volume, name=name)
        image = nnunet_image(volume, self.recipe)
        shape = image.voxels.shape[1:]
        self._require_ram_to_prepare(image, name)
        before = None if earlier is None else image.arranged(earlier.voxels)
        prepared = prepare(
            image.voxels, image.spacing, self.recipe, previous=before, name=name
        )
        labels = self._labels(prepared, image, probabilities, name)
        many = len(self.recipe.foreground) >= MANY_LABELS
        whole = np.zeros(shape, np.uint16 if many else np.uint8)
        whole[prepared.box] = labels
        return image.label_map(whole)

    def _require_ram_to_prepare(self, image: NnUNetImage, name: str) -> None:
        shape = image.voxels.shape[1:]
        target = network_spacing(self.recipe, image.spacing)
        needed = preparation_bytes(
            shape,
            new_shape(shape, image.spacing, target),
            inputs=len(self.recipe.channels) + self.recipe.extra_channels,
        )
        require_ram(needed, self.settings.max_ram, name=name)

    def _labels(
        self,
        prepared: NnUNetInput,
        image: NnUNetImage,
        probabilities: Path | None,
        name: str,
    ) -> np.ndarray:
        """Labels of the cropped scan, slab by slab; with probabilities, at once."""
        resampling = Resize.between(
            self.recipe.resampling_logits,
            prepared.cropped,
            spacing=prepared.new_spacing,
            new_spacing=prepared.spacing,
        )
        step = STEP if self.settings.overlap == "auto" else 1 - self.settings.overlap
        sizes = DecisionSizes(
            folds=len(self.networks),
            outputs=self.plan.num_outputs,
            window=self.recipe.patch_size,
            step=step,
            one_window=self.window_bytes,
            all_at_once=probabilities is not None,
        )
        needed = sizes.bytes_for(prepared, resampling)
        require_ram(needed, self.settings.max_ram, name=name)
        slabs: Iterable[Tensor] = logit_slabs(
            [mirrored(self._in_its_axes(one), self.flips) for one in self.networks],
            torch.from_numpy(prepared.voxels),
            self.recipe.patch_size,
            num_outputs=self.plan.num_outputs,
            step=step,
            device=self.device,
        )
        if probabilities is not None:
            logits = torch.cat(list(slabs), dim=1)
            slabs = [logits]
            write_probabilities(
                probabilities,
                logits,
                resampling,
                image=image,
                box=prepared.box,
                scheme=self.plan.labels,
            )
        return decide(
            slabs,
            prepared.voxels.shape[1:],
            resampling,
            region_order=self.recipe.region_order,
        )

    @property
    def description(self) -> str:
        """See `ExactPredictor`."""
        return self.recipe.model_dump_json()

    @property
    def flips(self) -> Sequence[int]:
        """Axes of the network that test-time flips are averaged over."""
        return () if self.settings.flips is False else self.recipe.mirror_axes

    def _in_its_axes(self, network: Predict) -> Predict:
        """The network for windows in nnU-Net's axes."""
        axes = self.recipe.axes[-self.recipe.spatial_dims :]
        order = (0, 1, *(2 + int(n) for n in np.argsort(axes)))
        back = tuple(int(n) for n in np.argsort(order))
        return lambda window: network(window.permute(order)).permute(back)
