"""How a fit went, in words and files: length, where the time went, what was sampled."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.progress import Progress
from medseg.sampling import SamplingStats
from medseg.tables import read_frame, write_frame
from medseg.training.logger import RunLogger
from medseg.training.loop import FitResult

if TYPE_CHECKING:
    import pandas as pd

HISTORY = "metrics.csv"
"""Every measurement of a run, below its folder; training writes it."""
SAMPLING_STATS = "sampling.csv"
"""Sampling statistics, below a run's folder."""
FORMER_SAMPLING_STATS = "ledger.csv"
"""The same in runs of 0.1."""


def report_fit(result: FitResult, progress: Progress) -> None:
    """Says how training went."""
    progress.say(
        f"{result.steps} steps in {result.seconds / 60:.1f} minutes"
        + (f", ended early: {result.stopped_by}" if result.stopped_by else "")
    )
    shares = sorted(result.shares.items(), key=lambda item: -item[1])
    progress.say(
        "where the time went: "
        + ", ".join(f"{part} {share:.0%}" for part, share in shares if share >= 0.005)
        + _device_in_use(result)
    )
    progress.say(
        "sampling statistics, of patches before augmentation:\n"
        + _sampling_lines(result.sampling_stats)
    )


def write_sampling_stats(folder: Path, sampling_stats: "pd.DataFrame") -> None:
    """Keeps the sampling statistics with the run.

    Raises:
        OutputError: The folder cannot be written.
    """
    counts = sampling_stats.convert_dtypes()  # they stay whole
    write_frame(folder / SAMPLING_STATS, counts, digits=None)


def histories_of(runs: Mapping[str, Path]) -> dict[str, Path]:
    """The measurements of those runs that have some, for a report."""
    found = {name: folder / HISTORY for name, folder in runs.items()}
    return {name: path for name, path in found.items() if path.is_file()}


def sampling_stats_of(runs: Mapping[str, Path]) -> "pd.DataFrame | None":
    """Sampling statistics of several runs; None where none kept it."""
    import pandas as pd

    files = {
        name: folder / file
        for name, folder in runs.items()
        for file in (FORMER_SAMPLING_STATS, SAMPLING_STATS)
        if (folder / file).is_file()
    }
    found = {
        name: read_frame(file, keep_default_na=False, na_values=[""])
        for name, file in files.items()
    }
    if not found:
        return None
    return pd.concat(found, names=["run"]).reset_index(level="run")


def log_time(result: FitResult, logger: RunLogger) -> None:
    """Tracks where the time went, and how busy the device was."""
    logger.log_metrics(
        {f"time/{part}": share for part, share in result.shares.items()},
        step=result.steps,
    )
    if result.utilisation is not None:
        logger.log_metrics(
            {"time/device_in_use": result.utilisation}, step=result.steps
        )


def _device_in_use(result: FitResult) -> str:
    if result.utilisation is None:
        return ""
    return f"; device in use {result.utilisation:.0%}"


def _sampling_lines(sampling_stats: SamplingStats) -> str:
    """A line per structure and lesion size: what there is and what was seen."""
    lines = []
    for row in sampling_stats.table().to_dict(orient="records"):
        line = f"  {row['structure']}, {row['size_bin']} voxels: "
        if row["size_bin"] == "all":
            line = (
                f"  {row['structure']}: in {row['patches_share']:.0%} of patches, "
                f"{row['voxels_share']:.2%} of voxels; "
            )
        lines.append(
            f"{line}{row['lesions_shown']} of {row['lesions']} components shown, "
            f"{row['shows_per_lesion']:.1f} times each"
        )
    return "\n".join(lines)
