"""A trained network applied to scans."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from medseg.inference.averaging import flipped_average
from medseg.inference.export import start_indices, start_label_map
from medseg.inference.label_writer import LabelWriter
from medseg.inference.memory_plan import (
    Demand,
    find_budget,
    plan_memory,
    resident_bytes,
    trim_ram,
    window_bytes,
)
from medseg.inference.objects import (
    ObjectMapWriter,
    decode_prepared,
    on_scan,
    without_faint_objects,
)
from medseg.inference.probability_writer import (
    ProbabilityWriter,
    on_cropped_grid,
    probability_file,
)
from medseg.inference.region_of_interest import find_region, narrowed
from medseg.inference.settings import InferenceSettings
from medseg.inference.sliding_window_run import SlidingWindowRun
from medseg.inference.streaming import Predict
from medseg.inference.tiling import Box, rolling_axis
from medseg.inference.window_spec import REFERENCE_OVERLAP, AxisLayout, WindowSpec
from medseg.instances.decoding_settings import DecodingSettings
from medseg.instances.object_maps import ObjectMaps
from medseg.networks.folding import inference_form
from medseg.networks.network import SegmentationNetwork
from medseg.placement import Placement
from medseg.plan import Plan
from medseg.preparation.preprocessing import (
    edgewise_remark,
    preprocess,
    with_channels,
)
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
    windows: WindowSpec | None = None
    """What ``overlap="auto"`` means, as calibrated for the model; None blends training
    patches that overlap by half, the reference."""
    decoding: DecodingSettings = field(default_factory=DecodingSettings)
    """How single objects are found, for plans that have a target for them."""

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
            probabilities: A .b2nd file (blosc2) to write them to, float16
                (L, I, J, K) on the scan's own grid; none by default.

        Raises:
            InputError: The scan does not fit the plan.
            OutputError: The probabilities cannot be written.
            PredictionError: The memory budget does not suffice; the smallest that
                does is named.
        """
        notes = [] if notes is None else notes
        ram = self.settings.max_ram
        prepared = preprocess(
            volume,
            self.plan,
            name=name,
            memory_bytes=None if ram is None else ram - resident_bytes(),
        )
        image, faint = prepared.image, prepared.faint
        if odd := edgewise_remark(prepared.placement.reoriented, self.plan):
            notes.append(odd)
        part, placement = self._narrow(image, prepared.placement, notes)
        del prepared
        label_map = self._label_map(
            image, placement, part, name=name, notes=notes, probabilities=probabilities
        )
        if faint is None:
            return label_map
        voxels = with_channels(volume, self.plan.channel_names, name=name).voxels
        cleaned, note = without_faint_objects(
            label_map, voxels, faint, self.plan.labels
        )
        notes.append(note)
        return cleaned

    def _label_map(
        self,
        image: ImageArray,
        placement: Placement,
        part: Box | None,
        *,
        name: str,
        notes: list[str],
        probabilities: Path | None,
    ) -> LabelMap:
        """What the network finds in a prepared image, on the scan's own grid."""
        if self.plan.instance_target != "none":
            depths = self.depths(image, part=part, name=name, notes=notes)
            labels = decode_prepared(depths, self.plan, self.decoding)
            return on_scan(labels, placement, self.plan.labels)
        label_map, writer = start_label_map(placement, self.plan.targets)
        if probabilities is None:
            self._fill(writer, image, part=part, name=name, notes=notes)
            return label_map
        with probability_file(probabilities, placement, self.plan.targets) as file:
            writer = ProbabilityWriter(
                on_cropped_grid(label_map.voxels, placement),
                file,
                placement,
                self.plan.targets,
            )
            self._fill(writer, image, part=part, name=name, notes=notes)
        return label_map

    def _narrow(
        self, image: ImageArray, placement: Placement, notes: list[str]
    ) -> tuple[Box | None, Placement]:
        """The part of a prepared scan that needs the network, and where it lies."""
        side_by_side = replace(self.reference_windows, overlap=0.0)
        first_pass = replace(self, windows=side_by_side)
        region = find_region(
            image,
            self.plan,
            self.settings.roi,
            find_coarsely=first_pass.predict_prepared,
        )
        if region is None or (part := narrowed(placement, region.box)) is None:
            return None, placement
        notes.append(region.note)
        return region.box, part

    def predict_prepared(
        self, image: ImageArray, *, name: str = "prepared scan"
    ) -> LabelArray:
        """Label indices on the prepared grid, shape (I, J, K)."""
        indices, writer = start_indices(image.shape[1:], self.plan.targets)
        self._fill(writer, image, name=name, notes=[])
        return indices

    @torch.inference_mode()
    def depths(
        self,
        image: ImageArray,
        *,
        part: Box | None = None,
        name: str = "prepared scan",
        notes: list[str] | None = None,
    ) -> ObjectMaps:
        """How deep each voxel lies inside of an object, for plans that learn that.

        Args:
            image: Prepared scan, shape (C, I, J, K).
            part: What is wanted of it; all by default.
            name: Case or file, for error messages.
            notes: Gets a line for what was done otherwise than asked.
        """
        wanted = part or tuple(slice(0, n) for n in image.shape[1:])
        writer = ObjectMapWriter.start(tuple(box.stop - box.start for box in wanted))
        notes = [] if notes is None else notes
        self._start(writer, image, part=part, name=name, notes=notes).fill(writer)
        return writer.depths

    @torch.inference_mode()
    def logits(self, image: ImageArray) -> Tensor:
        """Logits on the prepared grid, shape (L, I, J, K): all of them at once.

        For small images and for looking closely; `predict` never holds them.
        """
        _, writer = start_indices(image.shape[1:], self.plan.targets)
        run = self._start(writer, image, name="prepared scan", notes=[])
        parts = [(rows.axis, rows.logits()) for rows in run.rows(writer.whole)]
        return torch.cat([part for _, part in parts], dim=parts[0][0] + 1)

    @torch.inference_mode()
    def _fill(
        self,
        writer: LabelWriter,
        image: ImageArray,
        *,
        part: Box | None = None,
        name: str,
        notes: list[str],
    ) -> None:
        self._start(writer, image, part=part, name=name, notes=notes).fill(writer)

    def _start(
        self,
        writer: LabelWriter | ObjectMapWriter,
        image: ImageArray,
        *,
        part: Box | None = None,
        name: str,
        notes: list[str],
    ) -> SlidingWindowRun:
        """Decides on windows and strips, before anything is computed.

        Windows lie where they would for the whole image, whichever part is wanted:
        looking at less changes no voxel of it.
        """
        layout = AxisLayout(self.plan.spatial_dims)
        asked = self._windows()
        shape = layout.shape(image.shape[1:])
        axis = 0 if layout.spatial_dims == 2 else rolling_axis(shape, asked.size)
        trim_ram()
        ram, vram = self.settings.max_ram, self.settings.max_vram
        demand = Demand(
            whole=writer.whole,
            region=writer.region,
            layout=layout,
            num_outputs=self.plan.num_outputs,
            batch_size=self._batch_size,
            window_bytes=self._window_bytes,
            resident=resident_bytes(),
            image=image.nbytes,
            is_gpu=self.device.type == "cuda",
        )
        budget = find_budget(self.device, ram=ram, vram=vram)
        run = SlidingWindowRun(
            image=torch.from_numpy(image),
            origin=tuple(box.start for box in part) if part else (0, 0, 0),
            layout=layout,
            predict_for=self._predict_for,
            device=self.device,
            plan=plan_memory(demand, asked, axis=axis, budget=budget, name=name),
            notes=notes,
        )
        run.report(asked)
        return run

    @property
    def _batch_size(self) -> int | None:
        """Windows per call; None for as many as pay and fit."""
        size = self.settings.batch_size
        if size == "auto":  # what memory is free must not decide the last bit
            return 1 if self.settings.reproducible else None
        return size

    def _windows(self) -> WindowSpec:
        """The windows that were asked for or calibrated."""
        overlap = self.settings.overlap
        if overlap == "auto" and self.settings.window_size is None and self.windows:
            return self.windows
        reference = self.reference_windows
        return reference if overlap == "auto" else replace(reference, overlap=overlap)

    @property
    def reference_windows(self) -> WindowSpec:
        """Windows of the size that was asked for or trained on, overlapping by half."""
        layout = AxisLayout(self.plan.spatial_dims)
        size = layout.window(self.settings.window_size or self.plan.patch_size)
        return WindowSpec(size, REFERENCE_OVERLAP, divisor=layout.window(self.divisor))

    @property
    def divisor(self) -> tuple[int, ...]:
        """Windows that are multiples of this need no padding."""
        ones = (1,) * self.plan.spatial_dims
        return tuple(getattr(self.network, "divisor", ones))

    def _window_bytes(self, size: tuple[int, ...]) -> int:
        channels = len(self.plan.channels)
        exact = self.settings.max_ram is not None or self.settings.max_vram is not None
        return window_bytes(
            self.network,
            (channels, *size[-self.plan.spatial_dims :]),
            num_outputs=self.plan.num_outputs,
            by_layers=exact,
        )

    def _predict_for(self, windows: WindowSpec) -> Predict:
        unpadded = windows.exact is not None and any(a.margin for a in windows.exact)
        return self._centre if unpadded else self._network()

    def _centre(self, batch: Tensor) -> Tensor:
        """Logits of the centre of windows that bring their surroundings."""
        return cast(SegmentationNetwork, self.folded).forward_centre(batch)

    def _network(self) -> Predict:
        if self.settings.flips:
            axes = self.plan.mirror_axes
            every = range(self.plan.spatial_dims)
            return flipped_average(self._run, axes=every if axes is None else axes)
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
