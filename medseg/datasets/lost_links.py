"""Links and special files in the folder of a data set that no case is made of."""

from collections.abc import Iterator
from pathlib import Path

from medseg.datasets.case import Dataset
from medseg.io.formats import suffix_of
from medseg.io.special_files import linked_folders, special_files
from medseg.progress import Progress

_NAMED = 5


def warn_of_lost_links(folder: Path, dataset: Dataset, progress: Progress) -> None:
    """Says which linked folders hold scans that are in no case, and what is no file.

    Args:
        folder: The data set's folder.
        dataset: What was made of it.
        progress: Is told.
    """
    files = set(_files(dataset))
    used = {parent for path in (*files, *dataset.orphans) for parent in path.parents}
    lost = [link for link in linked_folders(folder) if link not in used]
    lost = [link for link in lost if _holds_scans(link)]
    if lost:
        progress.warn(
            f"links to folders elsewhere are not followed, the scans in them belong to "
            f"no case: {_shown(lost, folder)}"
        )
    odd = [path for path, _ in special_files(folder) if path not in files]
    if odd:
        progress.warn(
            "dangling links, FIFOs, sockets or devices belong to no case: "
            f"{_shown(odd, folder)}"
        )


def _files(dataset: Dataset) -> Iterator[Path]:
    for case in (*dataset.cases, *dataset.test_cases):
        yield from case.images
        if case.label is not None:
            yield case.label


def _holds_scans(folder: Path) -> bool:
    try:
        return any(suffix_of(path) for path in folder.iterdir())
    except OSError:
        return False


def _shown(paths: list[Path], folder: Path) -> str:
    names = ", ".join(path.relative_to(folder).as_posix() for path in paths[:_NAMED])
    more = len(paths) - _NAMED
    return f"{names} and {more} more" if more > 0 else names
