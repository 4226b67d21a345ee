"""A page to look at in for every scan that was segmented, beside the label maps."""

from pathlib import Path
from urllib.parse import quote

from medseg.errors import MedsegError
from medseg.plan import Plan
from medseg.volume import LabelMap, Volume

FOLDER = "viewer"
"""Of the pages, below the output folder."""
_MOST_VOXELS = 2_000_000
"""Of a scan that its page carries; `medseg view SCAN LABELS` shows more."""


def write_scan_page(
    out: Path, name: str, volume: Volume, label_map: LabelMap, plan: Plan
) -> None:
    """Writes the page of a scan; none where it cannot be made.

    Args:
        out: The output folder.
        name: Of the scan.
        volume: The scan.
        label_map: Its label map, on the scan's grid.
        plan: What its values and channels mean.
    """
    from medseg.reporting.viewer.page import ViewedCase, write_viewer_page

    case = ViewedCase(name, volume, plan.labels, label_map, channels=plan.channel_names)
    path = page_of(out, name)
    try:
        write_viewer_page(path, case, most_voxels=_MOST_VOXELS, back="../report.html")
    except MedsegError:
        path.unlink(missing_ok=True)


def page_of(out: Path, name: str) -> Path:
    """Where a scan's page lies."""
    return out / FOLDER / f"{name}.html"


def address_of(out: Path, name: str) -> str:
    """Where a scan's page lies, relative to the output folder; empty where it has none.

    Args:
        out: The output folder.
        name: Of the scan.
    """
    there = page_of(out, name).is_file()
    return f"{FOLDER}/{quote(name)}.html" if there else ""
