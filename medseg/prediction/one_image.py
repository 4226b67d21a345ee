"""One image of a Python call: a path or an image in memory, as a scan to segment."""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.errors import InputError
from medseg.io.identity import Pseudonymizer
from medseg.io.in_memory import AnyImage, open_image
from medseg.plan import Plan
from medseg.prediction.scan import Scan
from medseg.prediction.scan_volume import ScanVolume, load_scan, scan_of_volume
from medseg.prediction.scans import Collector
from medseg.prediction.series_rules import parse_series_rules
from medseg.types import AnyPath
from medseg.volume import LabelMap


@dataclass(frozen=True)
class OneImage:
    """An image ready to be segmented.

    Attributes:
        loaded: Its volume, and what was done to it.
        answer: Makes its label map the kind of image that was given.
    """

    loaded: ScanVolume
    answer: Callable[[LabelMap], Any]


def paths_of(image: AnyImage | AnyPath | Sequence[AnyPath]) -> tuple[Path, ...]:
    """The paths that an image is given by; none where it is in memory."""
    given: Sequence[Any] = image if isinstance(image, list | tuple) else [image]
    if not all(
        isinstance(part, str | Path) or hasattr(part, "__fspath__") for part in given
    ):
        return ()
    return tuple(Path(part) for part in given)


def find_scan(paths: Sequence[Path], plan: Plan, *, series: Sequence[str]) -> Scan:
    """The only scan at a path, or of several files, one for each channel.

    Args:
        paths: A file or folder, or files.
        plan: What the model expects.
        series: Rules for DICOM series.

    Raises:
        MissingFileError: There is no such path.
        InputError: There is no scan, or there are several.
    """
    if len(paths) > 1:
        return Scan.of_files(paths[0].name, paths)
    rules = parse_series_rules(series, channels=plan.channel_names)
    names = Pseudonymizer(secrets.token_bytes(32))
    scans = Collector(plan.channels, names, rules, None).collect(paths[0])
    usable = [scan for scan in scans if not scan.reason]
    if len(usable) > 1:
        some = ", ".join(scan.shown or scan.name for scan in usable[:4])
        raise InputError(
            f"{paths[0]}: {len(usable)} scans, expected one (the first: {some}); name "
            "one of them, choose with series=, or segment all with "
            "medseg.predict(model, folder, out=...)"
        )
    if not usable:
        raise InputError(f"{paths[0]}: {scans[0].cleaned(scans[0].reason)}")
    return usable[0]


def load_paths(scan: Scan, plan: Plan, *, strict: bool) -> OneImage:
    """A scan of files; its label map stays a `LabelMap`.

    Raises:
        InputError: It cannot be read, does not fit the model, or is empty.
    """
    loaded = load_scan(scan, plan, strict=strict)
    return OneImage(loaded, lambda label_map: label_map)


def load_image(image: AnyImage, plan: Plan, *, name: str, strict: bool) -> OneImage:
    """An image in memory; its label map becomes the same kind.

    Raises:
        InputError: It is no image, does not fit the model, or is empty.
    """
    opened = open_image(image, name=name, allow_shear=not strict)
    loaded = scan_of_volume(opened.volume, plan, name=name)
    return OneImage(loaded, opened.answer)
