"""Files of several channels that belong to one scan, told by their names."""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from medseg.io.formats import scan_stem
from medseg.io.sources import ScanSource
from medseg.plan import ChannelPlan
from medseg.prediction.scan import Scan

_FLAT = {".png", ".jpg", ".jpeg", ".bmp"}
Key = tuple[tuple[str, ...], str, bool]
"""Folders, stem without channel, and whether there was a channel."""


def group_files(
    sources: Sequence[ScanSource], channels: Sequence[ChannelPlan]
) -> list[Scan]:
    """The scans that files make up.

    Args:
        sources: One file each, no DICOM.
        channels: The model's channels, in order.
    """
    names = [channel.name for channel in channels]
    groups: dict[Key, list[tuple[int, ScanSource]]] = defaultdict(list)
    for source in sources:
        folders = source.files[0].parent.relative_to(source.root).parts
        head, channel = split_channel(scan_stem(source.files[0]), names)
        key = (folders, head, channel is not None and len(names) > 1)
        if not key[2]:  # told apart by `Collector` where the stems are equal
            groups[(*folders, source.files[0].name), head, False].append((0, source))
        else:
            groups[key].append((channel or 0, source))
    cases = {(folders, head) for folders, head, has_channel in groups if has_channel}
    scans = []
    for key, found in groups.items():
        scan, case = _scan(key, found, names), _case_of(key, cases)
        scans.append(replace(scan, reason=_not_used(case, names)) if case else scan)
    return scans


def _case_of(key: Key, cases: set[tuple[tuple[str, ...], str]]) -> str:
    """The case that a file without a channel's name lies beside; empty for none.

    That is a file called after a case of the same folder and a word, as a sequence is
    called that the model does not know.
    """
    folders, stem, has_channel = key
    if has_channel:
        return ""
    heads = [head for place, head in cases if place == folders[:-1] and head]
    return next(
        (
            head
            for head in sorted(heads, key=len, reverse=True)
            if re.fullmatch(re.escape(head) + r"[_.-][A-Za-z]\w*", stem)
        ),
        "",
    )


def _not_used(case: str, names: Sequence[str]) -> str:
    """Why a file beside a case's channels is set aside."""
    return (
        f"not used: no channel of the model ({', '.join(names)}), and named as another "
        f"one of {case}"
    )


def split_channel(stem: str, names: Sequence[str]) -> tuple[str, int | None]:
    """A stem without its channel, and the channel's number; None where it has none.

    Understood are four digits as nnU-Net writes them, and a channel's name behind an
    underscore, hyphen or dot; a stem that is nothing but the name belongs to its
    folder.
    """
    head, _, tail = stem.rpartition("_")
    if head and len(tail) == 4 and tail.isdigit():
        number = int(tail)
        if number < len(names):
            return head, number
    if len(names) == 1:
        return stem, None
    lower = stem.lower()
    for number in sorted(range(len(names)), key=lambda n: -len(names[n])):
        name = names[number].lower()
        forms = {name, re.sub(r"[\s_\-]+", "_", name), re.sub(r"[\s_\-]+", "", name)}
        for form in sorted(forms):
            if lower == form:
                return "", number
            if lower.endswith(tuple(f"{mark}{form}" for mark in "_-.")):
                return stem[: -len(form) - 1], number
    return stem, None


def _scan(key: Key, found: list[tuple[int, ScanSource]], names: Sequence[str]) -> Scan:
    folders, head, has_channel = key
    if not has_channel:
        source = found[0][1]
        name = "__".join((*folders[:-1], head))
        return Scan(name, (source,), source.shown)
    ordered = sorted(found, key=lambda pair: (pair[0], str(pair[1].files[0])))
    sources = tuple(source for _, source in ordered)
    numbers = [number for number, _ in ordered]
    name = "__".join(filter(None, (*folders, head))) or "scan"
    shown = "/".join((*folders, f"{head}*"))
    twice = sorted({names[n] for n in numbers if numbers.count(n) > 1})
    if twice:
        files = ", ".join(source.files[0].name for source in sources)
        reason = f"several files for channel {', '.join(twice)}: {files}"
        return Scan(name, sources, shown, reason=reason, is_fault=True)
    missing = tuple(names[n] for n in range(len(names)) if n not in numbers)
    return Scan(name, sources, shown, missing)


def is_flat_picture(path: Path) -> bool:
    """Whether a file's format holds no volume."""
    return path.suffix.lower() in _FLAT


def is_picture(path: Path) -> bool:
    """Whether a file's format holds pictures, of which a TIFF may have many pages."""
    return is_flat_picture(path) or path.suffix.lower() in {".tif", ".tiff"}
