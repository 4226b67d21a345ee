"""A page to look at in for every scored case, beside the report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import quote

from medseg.errors import MedsegError, OutputError, StoreError
from medseg.evaluation.folder import read_pair
from medseg.evaluation.pairs import CasePair
from medseg.files import is_disk_full
from medseg.labels import LabelScheme
from medseg.preparation.parallel import choose_workers, map_cases
from medseg.progress import Progress, Silent
from medseg.reporting.viewer.excerpt import MOST_VOXELS
from medseg.reporting.viewer.niivue import write_script
from medseg.reporting.viewer.page import ViewedCase, write_viewer_page
from medseg.scoring.report import case_scores, score_kind
from medseg.scoring.result import Evaluation
from medseg.scoring.scan_of_case import scan_or_black

FOLDER = "viewer"
"""Of the pages, beside the tables."""
_VOXELS_IN_ALL = 200_000_000
_FEWEST_VOXELS = 250_000
"""What the pages of an evaluation carry together, and one at least."""
_UNREADABLE = "The scan could not be read; its label maps are shown on black."


@dataclass(frozen=True)
class _Job:
    """A case whose page is to be written."""

    pair: CasePair
    images: tuple[Path, ...]
    detail: str


def write_viewer_pages(
    out: Path,
    evaluation: Evaluation,
    *,
    images: Mapping[str, Sequence[Path]],
    channels: tuple[str, ...] = (),
    report: str = "../report.html",
    workers: int | None = None,
    progress: Progress | None = None,
) -> dict[str, str]:
    """Address of each case's page, relative to the folder of the tables.

    The more cases there are, the less of each its page carries, and says so. A case
    whose page cannot be made has none, and is told.

    Args:
        out: Gets ``viewer/`` with a page per case and the script they share.
        evaluation: The scores.
        images: Files of the scan of each case; cases left out are shown on black.
        channels: Name of each channel.
        report: Address of the report, relative to a page.
        workers: Processes; None chooses.
        progress: Shows progress and warnings.

    Raises:
        OutputError: The disk is full.
    """
    progress = progress or Silent()
    scores, kind = case_scores(evaluation), score_kind(evaluation)
    jobs = [
        _Job(
            case.pair,
            tuple(images.get(case.pair.case_id, ())),
            _detail(scores.get(case.pair.case_id), kind),
        )
        for case in evaluation.scored
        if not case.failure
    ]
    if not jobs:
        return {}
    work = partial(
        _write_page,
        folder=out / FOLDER,
        scheme=evaluation.scheme,
        channels=channels,
        report=report,
        most_voxels=max(_FEWEST_VOXELS, min(MOST_VOXELS, _VOXELS_IN_ALL // len(jobs))),
    )
    write_script(out / FOLDER)  # before processes would write it at once
    pages: dict[str, str] = {}
    try:
        found = map_cases(work, jobs, workers=workers or _choose_workers(jobs))
        for number, fault in progress.track(found, label="viewer", total=len(jobs)):
            name = jobs[number].pair.case_id
            if fault:
                progress.warn(fault)
            else:
                pages[name] = f"{FOLDER}/{quote(name)}.html"
    except StoreError as error:
        progress.warn(f"viewer: {len(jobs) - len(pages)} cases have no page: {error}")
    return pages


class _Remarks(Silent):
    """Keeps what is said of a scan, for its page."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def warn(self, message: str) -> None:
        self.lines.append(message)


def _write_page(
    job: _Job,
    *,
    folder: Path,
    scheme: LabelScheme,
    channels: tuple[str, ...],
    report: str,
    most_voxels: int,
) -> str:
    """Why a case has no page; empty where it has one."""
    name, remarks = job.pair.case_id, _Remarks()
    try:
        prediction, reference = read_pair(job.pair, scheme)
        volume = scan_or_black(name, reference, job.images, remarks)
        case = ViewedCase(
            name,
            volume,
            scheme,
            prediction,
            reference,
            channels=channels if len(channels) == volume.num_channels else (),
            detail=job.detail,
            notes=(_UNREADABLE,) if remarks.lines else (),
        )
        write_viewer_page(
            folder / f"{name}.html", case, most_voxels=most_voxels, back=report
        )
    except (MedsegError, MemoryError) as error:
        if isinstance(error, OutputError) and is_disk_full(error):
            raise
        return f"{name}: no viewer page: {str(error) or type(error).__name__}"
    return ""


def _detail(score: float | None, kind: str) -> str:
    return "" if score is None else f"{kind} {score:.3f}"


def _choose_workers(jobs: Sequence[_Job]) -> int:
    """As many processes as there are cores, as far as there is work for them."""
    sizes = (
        file.stat().st_size for job in jobs for file in job.images if file.is_file()
    )
    return choose_workers(len(jobs), sum(sizes))
