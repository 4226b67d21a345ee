"""Results of an earlier call that a later one did not write again, taken away.

They would stand beside a failure, or beside a label map that they do not fit.
"""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from medseg.prediction.folder_page import PICTURES
from medseg.prediction.viewer_pages import FOLDER


def remove_results(out: Path, names: Sequence[str], *, but: Sequence[str] = ()) -> None:
    """Removes files that a scan's line names.

    Args:
        out: The output folder; nothing outside of it is touched.
        names: Of the files, below the folder.
        but: Those that were written anew.
    """
    for name in set(names) - set(but):
        if not Path(name).is_absolute() and ".." not in Path(name).parts:
            with suppress(OSError):
                (out / name).unlink(missing_ok=True)


def remove_pictures(out: Path, name: str) -> None:
    """Removes a scan's picture and its page to look at, which show another label map.

    Args:
        out: The output folder.
        name: Of the scan.
    """
    for path in (out / PICTURES / f"{name}.png", out / FOLDER / f"{name}.html"):
        with suppress(OSError):
            path.unlink(missing_ok=True)
