"""One run of a study: trained, or gone on with, unless it has finished."""

from pathlib import Path

from medseg.progress import Progress
from medseg.runs import finish
from medseg.runs.train import train
from medseg.studies.study import StudyRun
from medseg.training.checkpoint import CHECKPOINT


def is_finished(run: StudyRun, out: Path) -> bool:
    """Whether a run of a study was trained and scored."""
    return finish.is_finished(out / "runs" / run.name)


def train_run(run: StudyRun, out: Path, *, device: str, progress: Progress) -> None:
    """Trains one run of a study, or goes on with it; a finished one is left alone.

    Args:
        run: The run.
        out: The study's folder.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:n``.
        progress: Shows progress.

    Raises:
        MedsegError: Data or folder cannot be used, or training failed.
        KeyboardInterrupt: A signal ended the run; the same call continues.
    """
    if is_finished(run, out):
        return
    folder = out / "runs" / run.name
    trained = train(
        run.config,
        folder,
        device=device,
        resume=(folder / CHECKPOINT).exists(),
        parent_folder=out / "runs" / "study",
        progress=progress,
    )
    if trained.fit.interrupted:
        raise KeyboardInterrupt
