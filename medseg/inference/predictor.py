"""A trained network applied to scans."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from medseg.inference.decision import decide
from medseg.inference.export import export_label_map
from medseg.inference.settings import InferenceSettings
from medseg.inference.sliding_window import (
    Predict,
    flipped_average,
    sliding_window_logits,
)
from medseg.networks.inference_form import inference_form
from medseg.plan import Plan
from medseg.preparation.preprocessing import preprocess
from medseg.types import ImageArray, LabelArray
from medseg.volume import LabelMap, Volume


@dataclass(frozen=True)
class Predictor:
    """A network on its device, with the plan it was trained by."""

    network: nn.Module
    plan: Plan
    device: torch.device
    settings: InferenceSettings = field(default_factory=InferenceSettings)
    forward: Predict | None = None
    """What runs the windows (an engine, an ensemble); None runs the network by torch.
    Flips and tiling are added to it."""

    def predict(self, volume: Volume, *, name: str = "scan") -> LabelMap:
        """The label map of a scan, on the scan's own grid.

        Args:
            volume: The scan as it was read; any orientation and spacing.
            name: Case or file, for error messages.

        Raises:
            InputError: The scan does not fit the plan.
        """
        prepared = preprocess(volume, self.plan, name=name)
        logits = self.logits(prepared.image)
        return export_label_map(logits, prepared.placement, self.plan.labels)

    def predict_prepared(self, image: ImageArray) -> LabelArray:
        """Label indices on the prepared grid, shape (I, J, K)."""
        return decide(self.logits(image), self.plan.labels)

    @torch.inference_mode()
    def logits(self, image: ImageArray) -> Tensor:
        """Logits on the prepared grid, shape (L, I, J, K), on the device."""
        batch = torch.from_numpy(np.ascontiguousarray(image)).to(self.device)
        flat = self.plan.spatial_dims == 2
        batch = batch.permute(3, 0, 1, 2) if flat else batch.unsqueeze(0)
        logits = sliding_window_logits(
            self._network(),
            batch,
            window_size=self.settings.window_size or self.plan.patch_size,
            overlap=self.settings.overlap,
            batch_size=self.settings.batch_size,
        )
        return logits.permute(1, 2, 3, 0) if flat else logits[0]

    def _network(self) -> Predict:
        if self.settings.flips:
            return flipped_average(self._run, spatial_dims=self.plan.spatial_dims)
        return self._run

    @cached_property
    def folded(self) -> nn.Module:
        """The network in the form that computes the same fastest, made on first use."""
        return inference_form(self.network, device=self.device)

    def _run(self, batch: Tensor) -> Tensor:
        if self.forward is not None:
            return self.forward(batch)
        precision = self.settings.precision
        if precision in {"auto", "float32"}:
            return self.folded(batch)  # type: ignore[no-any-return]
        with torch.autocast(self.device.type, dtype=getattr(torch, precision)):
            return self.folded(batch)  # type: ignore[no-any-return]
