"""Where a run writes, and who watches it."""

from dataclasses import dataclass
from pathlib import Path

from medseg.progress import Progress
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
