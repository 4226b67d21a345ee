"""Which scans of a tree belong together, told by folders and names.

In this order: an image and a label map of one name in one folder, or in two folders
that differ in what they hold (``train/images``, ``train/masks``); a label map whose
name says nothing (``seg``), or a folder of masks, and the images of its folder and of
those below; a label map and the folder of images that is named after it; names that
occur once in the whole tree.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medseg.datasets.pairing import match_name
from medseg.datasets.places import (
    CONSENSUS_WORDS,
    Place,
    below,
    is_label_name,
    label_cores,
    words_of,
)
from medseg.errors import DatasetError

Folders = tuple[str, ...]


@dataclass
class TreeCase:
    """A label map and its images, by what their names have beyond the case's."""

    label: Path
    """A file, or a folder of one mask per structure."""
    name: str
    """The case's name as its file says it; empty where only folders do."""
    folders: Folders
    split: str
    images: dict[str, Path] = field(default_factory=dict)


class Tree:
    """The scans of a tree, matched step by step."""

    def __init__(self, root: Path, places: Sequence[Place]) -> None:
        self._root = root
        self._labels = [place for place in places if place.is_label]
        self._images = [place for place in places if not place.is_label]
        self._mask_names: set[str] = set()
        """Names that recur in folders of one mask per structure."""
        self.cases: list[TreeCase] = []

    def match(self) -> None:
        """Finds the cases; what remains is in `lone_images` and `lone_labels`.

        Raises:
            DatasetError: Several label maps contend for the same images.
        """
        self._match_names_in_folders()
        self._match_folders()
        self._match_folders_named_after_labels()
        self._match_unique_names()

    @property
    def lone_images(self) -> list[Place]:
        """Images that belong to no label map."""
        return list(self._images)

    @property
    def lone_labels(self) -> list[Place]:
        """Label maps that belong to no image."""
        return list(self._labels)

    def _match_names_in_folders(self) -> None:
        by_folder = defaultdict(list)
        for place in self._labels:
            by_folder[place.folders].append(place)
        images = defaultdict(list)
        for place in self._images:
            images[place.folders].append(place)
        for folders, labels in by_folder.items():
            self._match_names(labels, images.get(folders, []))

    def _match_names(self, labels: Sequence[Place], images: Sequence[Place]) -> None:
        """Pairs label maps and images by name; a name of two label maps counts once."""
        keys: dict[str, Place] = {}
        for rank in range(3):
            for place in sorted(labels, key=lambda place: place.path, reverse=True):
                cores = label_cores(place.stem)
                if rank < len(cores) and place not in keys.values():
                    keys.setdefault(cores[rank], place)
            self._take_matches(keys, images, exactly=rank == 2)
            labels = [place for place in labels if place in self._labels]
            keys = {}

    def _take_matches(
        self, keys: dict[str, Place], images: Sequence[Place], *, exactly: bool
    ) -> None:
        """Takes the images that match keys; `exactly` leaves no room for channels."""
        found: dict[str, dict[str, Place]] = defaultdict(dict)
        for image in images:
            match = match_name(image.stem, keys) if image in self._images else None
            if match and not (exactly and match[1]):
                found[match[0]].setdefault(match[1], image)
        for core, files in found.items():
            self._take(keys[core], core, files)

    def _match_folders(self) -> None:
        """Label maps without a name of their own, deepest folders first."""
        groups = defaultdict(list)
        for place in self._labels:
            groups[place.folders].append(place)
        stems = Counter(place.stem for place in self._labels)
        for labels in groups.values():
            if len(labels) > 1 and not any(is_label_name(p.stem) for p in labels):
                self._mask_names |= {p.stem for p in labels if stems[p.stem] > 1}
        for folders in sorted(groups, key=lambda folders: (-len(folders), folders)):
            labels, images = groups[folders], below(folders, self._images)
            if not images:
                self._take_group(labels, folders, self._named_after(folders))
            elif self._belongs(labels, folders, images, stems):
                self._take_group(labels, folders, _named_in(folders, images))

    def _belongs(
        self,
        labels: Sequence[Place],
        folders: Folders,
        images: Sequence[Place],
        stems: Mapping[str, int],
    ) -> bool:
        """Whether label maps are of all images in their folder, whatever their names.

        That is where a label map's name says nothing; else where the folder has no
        other case and, of several label maps, the same names occur in other folders
        too.
        """
        if len(labels) == 1 and not label_cores(labels[0].stem):
            return True
        if any(case.folders[: len(folders)] == folders for case in self.cases):
            return False
        if len(labels) == 1:
            return bool(folders)
        return len(images) == 1 or (
            bool(folders) and any(stems[place.stem] > 1 for place in labels)
        )

    def _named_after(self, folders: Folders) -> dict[str, Place]:
        """Images that are named as a folder of label maps beside them."""
        if not folders:
            return {}
        near = [place for place in self._images if place.folders == folders[:-1]]
        matches = [(match_name(place.stem, {folders[-1]}), place) for place in near]
        return {match[1]: place for match, place in matches if match}

    def _take_group(
        self, labels: Sequence[Place], folders: Folders, images: dict[str, Place]
    ) -> None:
        if not images:
            return
        chosen, used = self._choose(labels, folders)
        if chosen is None:
            return
        self.cases.append(
            TreeCase(
                chosen,
                "",
                folders,
                labels[0].split,
                {name: place.path for name, place in images.items()},
            )
        )
        self._drop(used, images.values())

    def _choose(
        self, labels: Sequence[Place], folders: Folders
    ) -> tuple[Path | None, Sequence[Place]]:
        """The one label map of a folder, or its folder of masks; and what is used."""
        if len(labels) == 1 and labels[0].stem not in self._mask_names:
            return labels[0].path, labels
        parents = {place.path.parent for place in labels}
        kinds = {re.sub(r"\d+", "", place.stem) for place in labels}
        named = any(is_label_name(place.stem) for place in labels)
        # names that differ in numbers alone are of cases, not of structures
        of_cases = len(labels) > 1 and len(kinds) == 1
        if len(parents) == 1 and not (named or of_cases):
            return parents.pop(), labels
        agreed = [p for p in labels if CONSENSUS_WORDS & set(words_of(p.stem))]
        if len(agreed) == 1:
            return agreed[0].path, labels
        if any(label_cores(place.stem) for place in labels):
            return None, ()
        names = ", ".join(sorted(place.path.name for place in labels)[:4])
        raise DatasetError(
            f"{self._root}: {'/'.join(folders) or 'the folder'} has several label "
            f"maps, {names}; list the wanted one of each case in a manifest.csv with "
            "the columns case_id, patient_id, image, label"
        )

    def _match_folders_named_after_labels(self) -> None:
        for place in list(self._labels):
            for core in label_cores(place.stem):
                inside = (*place.folders, core)
                images = [p for p in self._images if p.folders[: len(inside)] == inside]
                if images:
                    self._take(place, core, _named_in(inside, images))
                    break

    def _match_unique_names(self) -> None:
        """Names that occur once in the whole tree, images of one folder each."""
        counts = Counter(core for p in self._labels for core in label_cores(p.stem)[:1])
        keys = {
            core: place
            for place in self._labels
            for core in label_cores(place.stem)[:1]
            if counts[core] == 1
        }
        found: dict[str, dict[str, list[Place]]] = defaultdict(
            lambda: defaultdict(list)
        )
        for image in self._images:
            if match := match_name(image.stem, keys):
                found[match[0]][match[1]].append(image)
        for core, files in found.items():
            places = [place for several in files.values() for place in several]
            if len({place.folders for place in places}) == 1:
                self._take(keys[core], core, {n: ps[0] for n, ps in files.items()})

    def _take(self, label: Place, name: str, images: dict[str, Place]) -> None:
        files = {suffix: place.path for suffix, place in images.items()}
        folders = next(iter(images.values())).folders
        folders = label.folders if len(label.folders) >= len(folders) else folders
        self.cases.append(TreeCase(label.path, name, folders, label.split, files))
        self._drop([label], images.values())

    def _drop(self, labels: Iterable[Place], images: Iterable[Place]) -> None:
        gone = {place.path for place in (*labels, *images)}
        self._labels = [place for place in self._labels if place.path not in gone]
        self._images = [place for place in self._images if place.path not in gone]


def _named_in(folders: Folders, images: Sequence[Place]) -> dict[str, Place]:
    """Images of a case's folder by stem, or by path where stems occur twice."""
    counts = Counter(place.stem for place in images)
    return {
        (
            place.stem
            if counts[place.stem] == 1
            else "_".join((*place.folders[len(folders) :], place.stem))
        ): place
        for place in images
    }
