"""Where the parts of a trained nnU-Net model lie: in a folder, or an exported zip."""

import re
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from medseg.errors import MissingFileError, ModelError
from medseg.imported.archive import unpack

PLANS, DATASET, CHECKPOINT = "plans.json", "dataset.json", "checkpoint_final.pth"
_FOLD = re.compile(r"fold_(\d+)")
_WANTED = re.compile(rf"({PLANS}|{DATASET}|{CHECKPOINT}|postprocessing\.json)")
_OLD = (
    "is a model of nnU-Net v1, whose checkpoints no version 2 reads: convert its data "
    "set with nnUNetv2_convert_old_nnUNet_dataset and train it with nnU-Net v2 or "
    "`medseg train`"
)


@dataclass(frozen=True)
class NnUNetFolder:
    """A folder ``TRAINER__PLANS__CONFIGURATION`` of nnU-Net's results.

    Attributes:
        path: The folder.
        checkpoints: The final one of each fold, in the order of the folds' numbers.
        folds: Those numbers; ``all`` for a fold that trained on everything.
        postprocessing: The JSON file with what was found to help, if there is one.
    """

    path: Path
    checkpoints: tuple[Path, ...]
    folds: tuple[str, ...]
    postprocessing: Path | None

    @property
    def previous(self) -> Path:
        """The folder beside it that holds the low-resolution stage of a cascade."""
        head, _, _ = self.path.name.rpartition("__")
        return self.path.with_name(f"{head}__3d_lowres")


def is_nnunet(path: Path) -> bool:
    """Whether a path is a model of nnU-Net, of any version, or a zip of such."""
    if path.is_file():
        return path.suffix.lower() == ".zip" and zipfile.is_zipfile(path)
    return path.is_dir() and (bool(_model_folders(path)) or _is_old(path))


@contextmanager
def opened(path: Path, *, configuration: str | None = None) -> Iterator[NnUNetFolder]:
    """The model of a folder, or of a zip, which is unpacked for as long as it is used.

    Args:
        path: The folder with plans.json; a folder above several such; or a zip as
            ``nnUNetv2_export_model_to_zip`` writes it.
        configuration: Which, where there are several, such as ``3d_fullres``.

    Raises:
        MissingFileError: There is no model.
        ModelError: It is of nnU-Net v1; there are several; or a name in the zip leads
            out of it.
    """
    if not path.is_file():
        yield find_folder(path, configuration=configuration)
        return
    with tempfile.TemporaryDirectory(prefix="medseg_nnunet_") as place:
        unpack(path, Path(place), wanted=_is_wanted)
        try:
            found = find_folder(Path(place), configuration=configuration)
        except (MissingFileError, ModelError) as error:
            raise type(error)(str(error).replace(place, str(path))) from error
        yield found


def find_folder(path: Path, *, configuration: str | None = None) -> NnUNetFolder:
    """The model at or below a folder; see `opened`."""
    if _is_old(path):
        raise ModelError(f"{path}: {_OLD}")
    found = _model_folders(path)
    if configuration is not None:
        found = [p for p in found if p.name.rpartition("__")[2] == configuration]
    if not found:
        wanted = f" of configuration {configuration}" if configuration else ""
        raise MissingFileError(
            f"{path}: no trained nnU-Net model{wanted}; expected a folder with "
            f"{PLANS}, {DATASET} and fold_*/{CHECKPOINT}"
        )
    if len(found) > 1:
        names = ", ".join(str(p.relative_to(path)) for p in found)
        raise ModelError(
            f"{path}: holds several models ({names}); name one, or its configuration "
            "with --configuration"
        )
    return _parts(found[0])


def _model_folders(path: Path) -> list[Path]:
    """Folders with plans and folds, at most three levels down."""
    patterns = ("", "*/", "*/*/")
    places = [p.parent for part in patterns for p in path.glob(f"{part}{PLANS}")]
    return sorted(
        place
        for place in places
        if (place / DATASET).is_file() and any(place.glob("fold_*"))
    )


def _is_old(path: Path) -> bool:
    return (path / "plans.pkl").is_file() or any(path.glob("fold_*/model_*.model.pkl"))


def _parts(path: Path) -> NnUNetFolder:
    """Numbered folds come first; ``fold_all`` counts only where it is alone.

    Raises:
        MissingFileError: No fold was trained to its end.
    """
    numbered = sorted(
        (int(found[1]), child)
        for child in path.iterdir()
        if (found := _FOLD.fullmatch(child.name)) and (child / CHECKPOINT).is_file()
    )
    folds = [(str(number), child / CHECKPOINT) for number, child in numbered]
    whole = path / "fold_all" / CHECKPOINT
    if not folds and whole.is_file():
        folds = [("all", whole)]
    if not folds:
        raise MissingFileError(
            f"{path}: no fold_*/{CHECKPOINT}; was the training ended? A checkpoint of "
            "another name can be copied to that one"
        )
    numbers = tuple(number for number, _ in folds)
    rules = path / f"crossval_results_folds_{'_'.join(numbers)}" / "postprocessing.json"
    return NnUNetFolder(
        path,
        tuple(file for _, file in folds),
        numbers,
        rules if rules.is_file() else None,
    )


def _is_wanted(name: PurePosixPath) -> bool:
    """Whether a file of the zip is one that a model needs."""
    return _WANTED.fullmatch(name.name) is not None
