"""Which image files belong to which label map, told by their names alone.

The label map gives the case its name. Its images are either one file of that name
or, for several channels, files of that name with something appended: ``pat1_flair``,
``pat1_t1c``, ``pat1_0000``. Words that only say what a file is (``image``, ``seg``)
do not count, at either end.
"""

import re
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

IMAGE_WORDS = ("images", "image", "img", "scan", "volume", "vol", "im")
LABEL_WORDS = (
    "segmentation", "segmentations", "seg", "label", "labels", "lbl", "mask", "masks",
    "annotation", "annotations", "groundtruth", "ground_truth", "gt", "dseg",
    "labelmap", "manual",
)  # fmt: skip
_SEPARATORS = "_. -"


@dataclass(frozen=True)
class Pair:
    """The files of one case."""

    case_id: str
    images: tuple[Path, ...]
    label: Path


@dataclass(frozen=True)
class Pairs:
    """What became of a set of images and label maps."""

    pairs: tuple[Pair, ...]
    channels: tuple[str, ...]
    """What the image names of a case end in; empty for one image without suffix."""
    lone_images: tuple[Path, ...]
    """Images without a label map."""
    lone_labels: tuple[Path, ...]
    """Label maps without an image."""


def pair_files(images: Mapping[Path, str], labels: Mapping[Path, str]) -> Pairs:
    """Cases made of images and label maps that share a name.

    The channels are the suffixes that most cases have. A case that lacks one is
    given the path where the file should be, so that its absence is noticed; a file
    with a suffix that is none of the channels has no partner.

    Args:
        images: Name, without format suffix, of each image.
        labels: Name, without format suffix, of each label map.
    """
    keys = {core_name(labels[path], LABEL_WORDS): path for path in sorted(labels)[::-1]}
    by_case: dict[str, dict[str, Path]] = {}
    for path in sorted(images):
        if found := match_name(images[path], keys):
            by_case.setdefault(found[0], {}).setdefault(found[1], path)
    channels = common_channels(by_case.values())
    pairs = tuple(
        Pair(key, complete_images(by_case[key], channels), keys[key])
        for key in sorted(by_case)
        if set(by_case[key]) & set(channels)
    )
    used = {path for pair in pairs for path in (*pair.images, pair.label)}
    return Pairs(
        pairs=pairs,
        channels=tuple(filter(None, channels)),
        lone_images=tuple(sorted(set(images) - used)),
        lone_labels=tuple(sorted(set(labels) - used)),
    )


def core_name(name: str, words: tuple[str, ...]) -> str:
    """A name without a leading or trailing word.

    ``case1_image``, ``img1`` and ``image-1`` give ``case1``, ``1`` and ``1``; a name
    that consists of the word alone is kept.
    """
    choice = "|".join(sorted(words, key=len, reverse=True))
    for pattern in (
        rf"^(?P<core>.+)[{_SEPARATORS}](?:{choice})$",
        rf"^(?:{choice})[{_SEPARATORS}]?(?P<core>\d.*)$",
        rf"^(?:{choice})[{_SEPARATORS}](?P<core>.+)$",
    ):
        if match := re.match(pattern, name, flags=re.IGNORECASE):
            return match["core"]
    return name


def without_word(name: str, words: Container[str]) -> str:
    """A name without a word that stands between separators, wherever it does.

    ``patient_mask_01`` gives ``patient_01``; a name that consists of such words alone
    gives nothing.
    """
    pieces = re.split(f"([{_SEPARATORS}]+)", name)
    kept: list[str] = []
    for separator, piece in zip(["", *pieces[1::2]], pieces[::2], strict=True):
        if piece.lower() not in words:
            kept += [separator if kept else "", piece]
    return "".join(kept)


def match_name(name: str, keys: Container[str]) -> tuple[str, str] | None:
    """The case that an image belongs to and what its name has beyond the case's."""
    plain = without_word(name, IMAGE_WORDS)
    candidates = (name, core_name(name, IMAGE_WORDS), plain)
    for candidate in candidates:
        if candidate in keys:
            return candidate, ""
    for candidate in candidates:
        for end in _separators_from_the_end(candidate):
            if candidate[:end] in keys:
                return candidate[:end], candidate[end:].lstrip(_SEPARATORS)
    return None


def _separators_from_the_end(name: str) -> Iterator[int]:
    return (end for end in range(len(name) - 2, 0, -1) if name[end] in _SEPARATORS)


def common_channels(found: Iterable[dict[str, Path]]) -> tuple[str, ...]:
    """The suffixes that most cases have; more of them where two sets tie."""
    sets = Counter(("",) if "" in files else tuple(sorted(files)) for files in found)
    return max(sets, key=lambda names: (sets[names], len(names)), default=())


def complete_images(
    files: dict[str, Path], channels: tuple[str, ...]
) -> tuple[Path, ...]:
    """One path per channel; where a file is missing, the path it should have."""
    if channels == ("",):
        return (files[""],)
    known, example = next((name, files[name]) for name in channels if name in files)
    head, _, tail = example.name.rpartition(known)
    return tuple(
        files.get(name, example.with_name(f"{head}{name}{tail}")) for name in channels
    )
