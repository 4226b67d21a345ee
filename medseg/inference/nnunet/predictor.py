"""A scan's label map as nnU-Net's own predictor computes it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from medseg.errors import PredictionError
from medseg.inference.nnunet.axes import nnunet_image
from medseg.inference.nnunet.decision import decide
from medseg.inference.nnunet.preprocess import NnUNetInput, prepare
from medseg.inference.nnunet.resample import Resize
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
    """

    networks: tuple[Predict, ...]
    plan: Plan
    recipe: NnUNetRecipe
    device: torch.device
    settings: InferenceSettings
    previous: "NnUNetPredictor | None" = None

    def predict(
        self,
        volume: Volume,
        *,
        name: str = "scan",
        notes: list[str] | None = None,
        probabilities: Path | None = None,
    ) -> LabelMap:
        """The label map of a scan, on the scan's own grid.

        Args:
            volume: The scan as it was read; any orientation and spacing.
            name: Case or file, for error messages.
            notes: Gets a line for what was done otherwise than asked, or left out.
            probabilities: Not written in exact mode.

        Raises:
            InputError: The scan does not fit the plan.
            PredictionError: The logits exceed nnU-Net's float16 sums, or
                probabilities are asked for.
        """
        if probabilities is not None:
            raise PredictionError(
                "no probabilities are written in exact mode, which keeps logits of one "
                "class at a time; use --fast, or leave --probabilities out"
            )
        if notes is not None and (left_out := _left_out(self.settings)):
            notes.append(f"exact mode does without {', '.join(left_out)}")
        volume = with_channels(volume, self.plan.channel_names, name=name)
        require_finite(volume.voxels, name)
        earlier = None
        if self.previous is not None:
            earlier = self.previous.predict(volume, name=name)
        image = nnunet_image(volume, self.recipe)
        shape = image.voxels.shape[1:]
        before = None if earlier is None else image.arranged(earlier.voxels)
        prepared = prepare(
            image.voxels, image.spacing, self.recipe, previous=before, name=name
        )
        labels = self._labels(prepared)
        many = len(self.recipe.foreground) >= MANY_LABELS
        whole = np.zeros(shape, np.uint16 if many else np.uint8)
        whole[prepared.box] = labels
        return image.label_map(whole)

    def _labels(self, prepared: NnUNetInput) -> np.ndarray:
        """Labels of the cropped scan, slab by slab."""
        resampling = Resize.between(
            self.recipe.resampling_logits,
            prepared.cropped,
            spacing=prepared.new_spacing,
            new_spacing=prepared.spacing,
        )
        overlap = self.settings.overlap
        slabs = logit_slabs(
            [mirrored(self._in_its_axes(one), self.flips) for one in self.networks],
            torch.from_numpy(prepared.voxels),
            self.recipe.patch_size,
            num_outputs=self.plan.num_outputs,
            step=STEP if overlap == "auto" else 1 - overlap,
            device=self.device,
        )
        return decide(
            slabs,
            prepared.voxels.shape[1:],
            resampling,
            region_order=self.recipe.region_order,
        )

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


def _left_out(settings: InferenceSettings) -> list[str]:
    """Settings that were made and belong to medseg's own windows."""
    asked = {
        "max_ram": settings.max_ram is not None,
        "max_vram": settings.max_vram is not None,
        "roi": settings.roi not in {"auto", "all"},
        "engine": settings.engine not in {"auto", "torch"},
        "precision": settings.precision not in {"auto", "float32"},
        "window_size": settings.window_size is not None,
    }
    return [name for name, is_asked in asked.items() if is_asked]
