"""A trained network applied to scans."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor, nn

from medseg.inference.export import start_indices, start_label_map
from medseg.inference.flips import flipped_average
from medseg.inference.label_writer import LabelWriter
from medseg.inference.layout import Layout
from medseg.inference.settings import InferenceSettings
from medseg.inference.streaming import Predict, Rows, stream_rows
from medseg.inference.tiling import Box, blended_tiling, rolling_axis
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
        label_map, writer = start_label_map(prepared.placement, self.plan.labels)
        self._fill(writer, prepared.image)
        return label_map

    def predict_prepared(self, image: ImageArray) -> LabelArray:
        """Label indices on the prepared grid, shape (I, J, K)."""
        indices, writer = start_indices(image.shape[1:], self.plan.labels)
        self._fill(writer, image)
        return indices

    @torch.inference_mode()
    def logits(self, image: ImageArray) -> Tensor:
        """Logits on the prepared grid, shape (L, I, J, K): all of them at once.

        For small images and for looking closely; `predict` never holds them.
        """
        whole = tuple(slice(0, n) for n in image.shape[1:])
        rows = list(self._collect(image, whole))
        return torch.cat([part for part, _ in rows], dim=rows[0][1] + 1)

    def _collect(self, image: ImageArray, region: Box) -> Iterator[tuple[Tensor, int]]:
        for rows in self._stream(image, region):
            yield rows.logits(), rows.axis

    @torch.inference_mode()
    def _fill(self, writer: LabelWriter, image: ImageArray) -> None:
        block = writer.whole
        for rows in self._stream(image, writer.region(block)):
            writer.put(rows, block)

    def _stream(self, image: ImageArray, region: Box) -> Iterator[Rows]:
        """Finished rows of logits of a part of the prepared grid."""
        layout = Layout(self.plan.spatial_dims)
        size = self.settings.window_size or self.plan.patch_size
        window = layout.window(size)
        shape = layout.shape(image.shape[1:])
        axis = 0 if layout.spatial_dims == 2 else rolling_axis(shape, window)
        tiling = blended_tiling(
            shape, window=window, overlap=self.settings.overlap, axis=axis
        )
        for rows in stream_rows(
            layout.predict(self._network()),
            layout.image(torch.from_numpy(image)),
            tiling,
            region=layout.box(region),
            batch_size=self.settings.batch_size,
            device=self.device,
        ):
            yield layout.rows(rows)

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
