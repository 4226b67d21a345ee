"""Batches on the device, with the state from which a resumed run repeats the next."""

import queue
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medseg.augmentation.batch import augment_batch
from medseg.augmentation.plugin_transforms import Transforms
from medseg.augmentation.settings import AugmentationSettings
from medseg.device import send, use_device
from medseg.instances.object_colouring import levels_of
from medseg.plan import Plan
from medseg.sampling import Draw, PatchSampler, SamplingStats, gather
from medseg.store import StoredCase
from medseg.training.process_group import ProcessGroup
from medseg.training.resident import ResidentCases
from medseg.training.stopwatch import Stopwatch

QUEUE_SIZE = 3
"""Batches drawn ahead for a GPU, which then never waits for the CPU."""


ALONE = ProcessGroup()
"""A run of one process."""


@dataclass(frozen=True)
class Batch:
    """Patches to train on: all of a step, or one process's share of them.

    Attributes:
        images: Shape (N, C, *patch_size), float32.
        labels: Label indices, shape (N, *patch_size), uint8.
        draws: Where each patch of the step comes from, of all processes.
        shown: Label indices before augmentation, uint8, on the CPU.
        sampler_state: State of the sampler after this batch was drawn.
        first: Number of the first of these patches among the step's.
        unannotated: Classes that a patch's case does not annotate, boolean, shape
            (N, classes with the background); None where all cases annotate all.
    """

    images: Tensor
    labels: Tensor
    draws: tuple[Draw, ...]
    shown: np.ndarray
    sampler_state: dict[str, Any]
    first: int = 0
    unannotated: Tensor | None = None

    @property
    def case_ids(self) -> tuple[str, ...]:
        """Case of each patch of the step."""
        return tuple(draw.case_id for draw in self.draws)

    @property
    def own_draws(self) -> tuple[Draw, ...]:
        """Where these patches come from."""
        return self.draws[self.first : self.first + len(self.labels)]


class BatchSource:
    """Draws, reads and augments batches; on a GPU a thread stays a few ahead.

    The random numbers of a step follow from the seed and the number of the step
    alone, and the sampler's state travels with each batch, so that a resumed run
    sees the batches that the interrupted one would have seen. Where several processes
    train together, each makes all draws and reads its share of them, so that no patch
    comes twice and their number may change when the run is resumed.

    Args:
        cases: What the sampler draws from.
        sampler: Says which patch comes next.
        plan: Patch and batch size.
        augmentation: How patches are varied.
        seed: Another seed gives other variations.
        device: Where batches are needed.
        processes: The processes that share each batch.
        resident: The cases on the device, where they fit.

    Raises:
        SettingsError: There are more processes than patches in a batch.
    """

    def __init__(
        self,
        cases: Sequence[StoredCase],
        sampler: PatchSampler,
        *,
        plan: Plan,
        augmentation: AugmentationSettings,
        seed: int,
        device: torch.device,
        processes: ProcessGroup = ALONE,
        resident: ResidentCases | None = None,
    ) -> None:
        self.watch = Stopwatch(device)
        self._resident = resident
        self._ranks = processes
        self._first, self._count = processes.share(plan.batch_size)
        self.sampling_stats = SamplingStats(
            cases,
            structures=plan.targets.structures,
            size_bins=sampler.settings.size_bins,
        )
        self._cases = cases
        self._painted = cases[0].is_painted
        self._unannotated = [case.unannotated for case in cases]
        self._sampler = sampler
        self._last_state: dict[str, Any] = {}
        self._plan = plan
        self._augmentation = augmentation
        self._transforms = (
            Transforms(augmentation.transforms) if augmentation.transforms else None
        )
        self._seed = seed
        self.device = device
        self._step = 0
        self._peeked: Batch | None = None
        self._ahead: _Ahead | None = None

    def __enter__(self) -> "BatchSource":
        """Starts the thread, where there is one."""
        self.restart()
        return self

    def restart(self) -> None:
        """Goes on after the last batch returned, with a new thread where one failed."""
        if self._ahead is not None:
            self._ahead.close()
        if self.device.type == "cuda":
            self._last_state = self._last_state or self._sampler.state_dict()
            self._ahead = _Ahead(self)

    def __exit__(self, *_: object) -> None:
        """Ends the thread."""
        if self._ahead is not None:
            self._ahead.close()

    @property
    def patches_per_step(self) -> int:
        """This process's patches of a batch."""
        return self._count

    @property
    def patches_per_epoch(self) -> int:
        """As many patches as there are cases."""
        return len(self._cases)

    def state_dict(self, *, alone: bool = False) -> dict[str, Any]:
        """State that the next batches are drawn from, with the sampling statistics.

        Args:
            alone: The other processes are gone, and with them what they counted.

        Raises:
            LostProcessError: Another process ended.
        """
        sampling_stats = self.sampling_stats if alone else self.whole_sampling_stats()
        return {"sampler": self.sampler_state(), "ledger": sampling_stats.state_dict()}

    def sampler_state(self) -> dict[str, Any]:
        """State of the sampler right after the last batch returned."""
        if self._ahead is not None or self._peeked is not None:
            return self._last_state
        return self._sampler.state_dict()

    def load_state_dict(self, state: dict[str, Any], *, step: int) -> None:
        """Goes on after the given step; call it before entering."""
        if state["sampler"]:
            self._sampler.load_state_dict(state["sampler"])
            self._last_state = state["sampler"]
        if self._ranks.is_main:  # the others count what they show from now on
            self.sampling_stats.load_state_dict(state["ledger"])
        self._step = step

    def whole_sampling_stats(self) -> SamplingStats:
        """Sampling statistics of all processes together; every process must call this.

        Raises:
            LostProcessError: Another process ended.
        """
        if self._ranks.size == 1:
            return self.sampling_stats
        whole = SamplingStats(
            self._cases,
            structures=self.sampling_stats.structures,
            size_bins=self.sampling_stats.size_bins,
        )
        for state in self._ranks.gather(self.sampling_stats.state_dict()):
            whole.add_state(state)
        return whole

    def report_loss(self, case_ids: Sequence[str], loss: float) -> None:
        """Tells the sampler how a batch went, which ``hard_example`` goes by."""
        for case_id in case_ids:
            self._sampler.report_loss(case_id, loss)

    def peek(self) -> Batch:
        """The batch that `next` will return."""
        if self._peeked is None:
            if self._ahead is None:
                self._last_state = self._sampler.state_dict()
            self._peeked = self._take()
        return self._peeked

    def next(self) -> Batch:
        """The batch of the next step."""
        batch = self._peeked or self._take()
        self._peeked = None
        self._last_state = batch.sampler_state
        self.sampling_stats.add(batch.own_draws, batch.shown)
        return batch

    def _take(self) -> Batch:
        if self._ahead is None:
            return self._make()
        with self.watch.measure("waiting for data"):
            return self._ahead.get()

    def _make(self) -> Batch:
        """Draws and makes a batch; where that fails, as if it had not been drawn."""
        before = self._sampler.state_dict()
        try:
            return self._draw_and_make()
        except BaseException:
            self._sampler.load_state_dict(before)
            raise

    def _draw_and_make(self) -> Batch:
        plan = self._plan
        with self._measured("data"):
            draws = self._sampler.draw(plan.batch_size)
            own = draws[self._first : self._first + self._count]
            images, labels, shown = self._read(own)
        sequence = np.random.SeedSequence([self._seed, self._step])
        seed = int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))
        whole = self._count == plan.batch_size
        with self.watch.measure_device("augmentation"):
            images, labels = augment_batch(
                images,
                labels,
                self._augmentation,
                generator=torch.Generator().manual_seed(seed),
                patch_size=plan.patch_size,
                spacing=[s or 1.0 for s in plan.target_spacing][: plan.spatial_dims],
                part_of=None if whole else (self._first, plan.batch_size),
            )
        if self._transforms is not None:
            with self._measured("transforms"):
                images, labels = self._transforms(
                    images, labels, seed=seed, first=self._first
                )
        if self._painted:
            with self.watch.measure_device("augmentation"):
                labels = self._levels(labels)
        self._step += 1
        state = self._sampler.state_dict() if self._ahead is not None else {}
        return Batch(
            images,
            labels,
            tuple(draws),
            shown,
            state,
            self._first,
            self._unannotated_in(own),
        )

    def _read(self, draws: Sequence[Draw]) -> tuple[Tensor, Tensor, np.ndarray]:
        """Images and labels on the device, and the labels on the CPU as well."""
        padding = self._sampler.settings.padding
        if self._resident is not None:
            return self._resident.gather(draws, padding=padding)
        dims = self._plan.spatial_dims
        patches = gather(self._cases, draws, spatial_dims=dims, padding=padding)
        images, labels = patches.images, patches.targets
        shown = patches.labels.numpy()
        return send(images, self.device), send(labels, self.device), shown

    def _unannotated_in(self, draws: Sequence[Draw]) -> Tensor | None:
        """Classes that the patches' cases do not annotate, None for none."""
        if not any(self._unannotated[draw.case_index] for draw in draws):
            return None
        table = torch.zeros(
            len(draws), self._plan.targets.num_classes, dtype=torch.bool
        )
        for number, draw in enumerate(draws):
            table[number, list(self._unannotated[draw.case_index])] = True
        return send(table, self.device)

    def _levels(self, painted: Tensor) -> Tensor:
        """Levels of single objects as they lie now."""
        plan = self._plan
        assert plan.instance_target != "none"
        spacing = tuple(s or 1.0 for s in plan.target_spacing)[: plan.spatial_dims]
        return levels_of(painted, plan.instance_target, spacing=spacing)

    def _measured(self, part: str) -> AbstractContextManager[None]:
        """What a thread does ahead takes nobody's time."""
        return nullcontext() if self._ahead is not None else self.watch.measure(part)


class _Ahead:
    """Makes batches in a thread; an error there is raised where the next is asked."""

    def __init__(self, source: BatchSource) -> None:
        self._source = source
        self._ready: queue.Queue[Batch | BaseException] = queue.Queue(QUEUE_SIZE)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def get(self) -> Batch:
        item = self._ready.get()
        if isinstance(item, BaseException):
            raise item
        return item

    def close(self) -> None:
        self._stop.set()
        self._thread.join(timeout=30)

    def _run(self) -> None:
        use_device(self._source.device)
        while not self._stop.is_set():
            item: Batch | BaseException
            try:
                item = self._source._make()
            except BaseException as error:  # noqa: BLE001 - raised by the reader
                item = error
            while not self._stop.is_set():
                try:
                    self._ready.put(item, timeout=0.2)
                    break
                except queue.Full:
                    continue
            if isinstance(item, BaseException):
                return
