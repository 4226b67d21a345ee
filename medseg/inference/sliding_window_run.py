"""One prepared scan through the network, within a budget, whatever memory does."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from medseg.device import is_out_of_memory
from medseg.inference.label_writer import LabelWriter
from medseg.inference.memory_plan import MemoryPlan, release_memory
from medseg.inference.objects import ObjectMapWriter
from medseg.inference.settings import in_words
from medseg.inference.streaming import LogitSlab, Predict, WindowCount, stream_rows
from medseg.inference.tiling import Box
from medseg.inference.window_spec import AxisLayout, WindowSpec

PredictFor = Callable[[WindowSpec], Predict]
"""What runs windows of a kind: exact tiles of unpadded networks run otherwise."""


@dataclass
class SlidingWindowRun:
    """Finished rows of logits of a scan, with smaller windows when memory ends.

    Attributes:
        image: Prepared scan, shape (C, I, J, K).
        origin: Voxel of the image that the grid of the wanted rows begins with.
        layout: Order of the stream's axes.
        predict_for: What runs the windows.
        device: Where windows are predicted.
        plan: Windows and strips that were expected to fit.
        notes: Gets a line for whatever had to be changed.
    """

    image: Tensor
    origin: tuple[int, ...]
    layout: AxisLayout
    predict_for: PredictFor
    device: torch.device
    plan: MemoryPlan
    notes: list[str]
    count: WindowCount = field(default_factory=WindowCount)
    _on_device: Tensor | None = None
    """The image where windows are predicted, once it was asked for."""

    def fill(self, writer: LabelWriter | ObjectMapWriter) -> None:
        """Writes the labels of the whole scan, strip by strip."""
        for block in self.plan.blocks:
            for rows in self.rows(writer.region(block)):
                writer.put(rows, block)
        writer.finish()
        if self.count.num_repeated:
            self.notes.append(
                f"{self.count.num_repeated} of {self.count.num_windows} windows held a "
                "single value and were answered once"
            )

    def rows(self, region: Box) -> Iterator[LogitSlab]:
        """Rows of a region of the wanted grid; after a lack of memory they go on."""
        region = self.layout.box(
            tuple(
                slice(part.start + first, part.stop + first)
                for part, first in zip(region, self.origin, strict=True)
            )
        )
        axis = self.plan.axis
        origin = self.origin[self.layout.order[axis]]
        done = start = region[axis].start
        while done < region[axis].stop:
            first = max(done - 1, start)
            part = (
                *region[:axis],
                slice(first, region[axis].stop),
                *region[axis + 1 :],
            )
            failure = ""
            try:
                for rows in self._stream(part):
                    new = max(rows.new, done)
                    if new < rows.stop:
                        wanted = rows.counted_from(origin, new=new)
                        yield self.layout.rows(wanted)
                    done = rows.stop
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or not self._shrink():
                    raise
                failure = str(error).partition("\n")[0][:120] or type(error).__name__
            if failure:
                release_memory(self.device)
                self.notes.append(
                    f"out of memory ({failure}): went on with windows of "
                    f"{self.plan.windows.describe()}, batches of {self.plan.batch_size}"
                )

    def _stream(self, region: Box) -> Iterator[LogitSlab]:
        windows = self.plan.windows
        image = self.layout.image(self.image)
        sums_on = self.device if self.plan.sums_on_device else torch.device("cpu")
        return stream_rows(
            self.layout.predict(self.predict_for(windows)),
            image,
            windows.tiling(tuple(image.shape[1:]), axis=self.plan.axis),
            region=region,
            batch_size=self.plan.batch_size,
            device=self.device,
            sums_on=sums_on,
            held=self._held(),
            count=self.count,
        )

    def _held(self) -> Tensor | None:
        """The image on a GPU that has room for it, sent there once."""
        if not self.plan.image_on_device:
            self._on_device = None
            return None
        if self._on_device is None:
            self._on_device = self.image.to(self.device)
        return self.layout.image(self._on_device)

    def _shrink(self) -> bool:
        """Half the batch, then the scan and sums off the device, then half a window."""
        if self.plan.batch_size > 1:
            self.plan = replace(self.plan, batch_size=self.plan.batch_size // 2)
            return True
        windows = self.plan.windows.halved()
        if windows is None:
            return False
        self.plan = replace(
            self.plan, windows=windows, sums_on_device=False, image_on_device=False
        )
        return True

    def report(self, asked: WindowSpec) -> None:
        """Notes where the budget made windows smaller or strips necessary."""
        if self.plan.windows.size != asked.size:
            self.notes.append(
                f"windows of {self.plan.windows.describe()} instead of "
                f"{asked.describe()}, to stay within the memory budget "
                f"({in_words(self.plan.ram)} expected)"
            )
        if len(self.plan.blocks) > 1:
            self.notes.append(
                f"computed in {len(self.plan.blocks)} strips, to stay within the "
                f"memory budget ({in_words(self.plan.ram)} expected)"
            )
