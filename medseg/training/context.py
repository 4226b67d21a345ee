"""What a run writes and reports to, and its result."""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from medseg.progress import Progress
from medseg.sampling import SamplingStats
from medseg.training.batches import ALONE
from medseg.training.logger import RunLogger
from medseg.training.process_group import ProcessGroup


@dataclass(frozen=True)
class RunContext:
    """What a run writes to and is watched through."""

    folder: Path
    """The run's folder."""
    identity: str
    """Hash of data, plan and settings; only a checkpoint that has it is continued."""
    logger: RunLogger
    progress: Progress
    processes: ProcessGroup = ALONE
    """The processes that train together; all but the first are given a logger and a
    progress that say nothing."""


@dataclass(frozen=True)
class FitResult:
    """Result of a run.

    Attributes:
        network: The averaged network where there is one, in eval mode.
        steps: Optimiser steps, over all parts of a resumed run.
        seconds: Time spent training, likewise.
        best_dice: Best mean Dice seen on the way; −1 without a look.
        stopped_by: Why the run ended early; empty when it ran its length.
        shares: Share of this part's time by what it was spent on.
        precision: Number format of the convolutions.
        sampling_stats: What was sampled.
        alarms: What the user was warned of on the way.
        utilisation: How busy the device was, in [0, 1]; None where it cannot tell.
    """

    network: nn.Module
    steps: int
    seconds: float
    best_dice: float
    stopped_by: str
    shares: dict[str, float]
    precision: str
    sampling_stats: SamplingStats
    alarms: tuple[str, ...]
    utilisation: float | None

    @property
    def interrupted(self) -> bool:
        """Whether a signal ended the run; a stop file ends it as if it were done."""
        return self.stopped_by.startswith("SIG")
