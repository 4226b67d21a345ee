"""What the folders and names of a tree say of its scans: image or label map, split.

A folder called ``masks`` or ``labels_train`` makes label maps of what it holds where
its parent holds other scans too; a folder called ``images`` is told by such a
neighbour. Elsewhere the file's name decides (``case1_seg``). Folders that only say what
their files are do not count for which image belongs to which label map.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medseg.datasets.pairing import LABEL_WORDS, core_name, without_word
from medseg.io import find_scans, scan_stem

IMAGE_FOLDER_WORDS = {
    "images", "image", "imgs", "img", "scans", "volumes", "data", "raw", "input",
    "inputs",
}  # fmt: skip
LABEL_FOLDER_WORDS = {
    "labels", "label", "masks", "mask", "segmentations", "segmentation", "segs", "seg",
    "annotations", "annotation", "groundtruth", "gt", "targets", "target", "lbl",
}  # fmt: skip
SPLIT_WORDS = {
    "train": "train", "training": "train", "tr": "train", "val": "val", "valid": "val",
    "validation": "val", "dev": "val", "test": "test", "testing": "test", "ts": "test",
}  # fmt: skip
_NNUNET = re.compile(r"^(images?|labels?|imgs?|masks?)(tr|ts|val|te)$")
_SPLIT_OF_NNUNET = {"tr": "train", "ts": "test", "te": "test", "val": "val"}
_TELLING = {
    "seg", "segmentation", "segmentations", "mask", "masks", "label", "labels", "lbl",
    "annotation", "annotations", "groundtruth", "gt", "msk", "roi", "consensus", "wmh",
    "dseg", "labelmap",
}  # fmt: skip
"""Words that make a label map of a file wherever they stand in its name."""


@dataclass(frozen=True)
class Place:
    """One scan of a tree, and what its path says of it."""

    path: Path
    folders: tuple[str, ...]
    """Folders between the tree's root and the file, without those that only say what
    the file is."""
    stem: str
    is_label: bool
    split: str = ""
    """``train``, ``val`` or ``test``, where a folder says so."""


@dataclass(frozen=True)
class FolderName:
    """What the name of a folder says."""

    role: str
    """``image``, ``label`` or nothing."""
    split: str
    rest: str
    """The name without the words of its role."""


def places_in(root: Path) -> list[Place]:
    """All scans below a folder, sorted."""
    paths = [path for path in find_scans(root) if path != root]
    stems = {path: path.relative_to(root).parts[:-1] for path in paths}
    return sorted(_placed(paths, stems, ()), key=lambda place: place.path)


def folder_name(name: str) -> FolderName:
    """What the name of a folder says of the files below it."""
    if match := _NNUNET.match(name.lower()):
        role = "label" if match[1].startswith(("l", "ma")) else "image"
        return FolderName(role, _SPLIT_OF_NNUNET[match[2]], "")
    words = words_of(name)
    plain = ["".join(words)] if "".join(words) in LABEL_FOLDER_WORDS else words
    split = next((SPLIT_WORDS[word] for word in plain if word in SPLIT_WORDS), "")
    for role, known in (("label", LABEL_FOLDER_WORDS), ("image", IMAGE_FOLDER_WORDS)):
        if plain and (plain[0] in known or plain[-1] in known):
            return FolderName(role, split, "_".join(w for w in plain if w not in known))
    if "groundtruth" in "".join(words):  # two words, wherever they stand
        left = [word for word in words if word not in ("ground", "truth")]
        return FolderName("label", split, "_".join(left))
    return FolderName("", split, name)


def words_of(name: str) -> list[str]:
    """The words of a name in lower case, parted by separators and capital letters."""
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return [word for word in re.split(r"[^A-Za-z0-9]+", parted.lower()) if word]


def is_label_name(stem: str) -> bool:
    """Whether a file's name alone says that it is a label map."""
    if stem.lower() in LABEL_WORDS or core_name(stem, LABEL_WORDS) != stem:
        return True
    return any(word.rstrip("0123456789") in _TELLING for word in words_of(stem))


def label_cores(stem: str) -> list[str]:
    """What may be the case's name in a label map's, the likeliest first.

    The last one leaves out a number at the end, as several readers' label maps have.
    Empty texts and bare numbers of readers are none: ``seg``, ``Consensus`` and
    ``ManualSegmentation_1`` name no case.
    """
    cores = [core_name(stem, LABEL_WORDS), without_word(stem, _TELLING)]
    cores.append(core_name(re.sub(r"[_. \-]?\d{1,2}$", "", stem), LABEL_WORDS))
    return [core for core in dict.fromkeys(cores) if core and not _is_bare(core)]


def _is_bare(core: str) -> bool:
    """Whether nothing but words for label maps and their readers are in a name."""
    words = {word.rstrip("0123456789") for word in words_of(core)}
    return bool(words - {""}) and words <= {*LABEL_WORDS, *_TELLING, *READER_WORDS, ""}


READER_WORDS = {
    "manual", "reader", "rater", "expert", "observer", "annotator", "consensus",
    "staple", "majority", "final", "radiologist",
}  # fmt: skip
CONSENSUS_WORDS = {"consensus", "staple", "majority", "final"}


def _placed(
    paths: Sequence[Path], folders: dict[Path, tuple[str, ...]], done: tuple[str, ...]
) -> Iterator[Place]:
    """Places of files, `folders` being those still to be looked at, `done` the rest."""
    below: dict[str, list[Path]] = defaultdict(list)
    for path in paths:
        if folders[path]:
            below[folders[path][0]].append(path)
        else:
            stem = scan_stem(path)
            yield Place(path, done, stem, is_label_name(stem))
    names = {name: folder_name(name) for name in below}
    labels = {name for name, said in names.items() if said.role == "label"}
    others = len(paths) - sum(len(below[name]) for name in labels)
    if not others:
        labels = set()
    for name, inside in below.items():
        said = names[name]
        counts = name in labels or (said.role == "image" and bool(labels))
        here = (*done, *filter(None, [said.rest])) if counts else (*done, name)
        deeper = {path: folders[path][1:] for path in inside}
        for place in _placed(inside, deeper, here):
            split = place.split or said.split
            role = said.role == "label" if counts else place.is_label
            yield replace(place, split=split, is_label=role)


def below(folders: tuple[str, ...], places: Iterable[Place]) -> list[Place]:
    """The places in a folder or in folders below it."""
    return [place for place in places if place.folders[: len(folders)] == folders]
