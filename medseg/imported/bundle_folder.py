"""Where the parts of a MONAI bundle lie: in a folder, or a zip of one."""

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from medseg.errors import MissingFileError, ModelError
from medseg.imported.archive import names_in, unpack

CONFIGS, MODELS, METADATA = "configs", "models", "metadata.json"
INFERENCE = ("inference.json", "inference.yaml", "inference.yml")
WEIGHTS = ("model.pt", "model.safetensors")
SCRIPTED = "model.ts"
_WANTED = re.compile(
    r"(?:[^/]+/)*(?:configs/[^/]+\.(?:json|ya?ml)|models/[^/]+\.(?:pt|pth|safetensors|ts)"
    r"|LICENSE[^/]*|docs/[^/]*license[^/]*)",
    re.IGNORECASE,
)
_MOST_LEVELS = 2


@dataclass(frozen=True)
class BundleFolder:
    """A bundle's folder.

    Attributes:
        path: The folder with ``configs`` and ``models``.
        shown: What messages call it.
    """

    path: Path
    shown: str

    @property
    def config(self) -> Path:
        """The configuration of the inference.

        Raises:
            MissingFileError: There is none.
        """
        for name in INFERENCE:
            if (self.path / CONFIGS / name).is_file():
                return self.path / CONFIGS / name
        raise MissingFileError(
            f"{self.shown}: no {CONFIGS}/{INFERENCE[0]}, which says how the bundle "
            "predicts"
        )

    @property
    def metadata(self) -> Path:
        """What goes in and comes out."""
        return self.path / CONFIGS / METADATA

    def weights(self, stated: str | None) -> Path:
        """The file of weights.

        Args:
            stated: What the configuration says, relative to the folder; None where it
                says nothing that can be read.

        Raises:
            ModelError: It leads out of the bundle, or is TorchScript.
            MissingFileError: It is not there.
        """
        names = [f"{MODELS}/{name}" for name in WEIGHTS]
        if stated is not None:
            names = [self._inside(stated)]
            if names[0].endswith(".pt"):
                names.append(f"{names[0][:-3]}.safetensors")
        for name in names:
            if (self.path / name).is_file():
                self._require_inside(self.path / name, name)
                return self.path / name
        if (self.path / MODELS / SCRIPTED).is_file() or names[0].endswith(".ts"):
            raise ModelError(
                f"{self.shown}: {MODELS}/{SCRIPTED} is TorchScript, a program and not "
                "weights: loading it would run what somebody else wrote; refused. Put "
                f"the network's state_dict into {MODELS}/{WEIGHTS[0]} or "
                f"{WEIGHTS[1]}, and its class into network_def"
            )
        raise MissingFileError(f"{self.shown}: no {names[0]}; was it downloaded?")

    def _inside(self, stated: str) -> str:
        """A stated path, relative to the folder.

        Raises:
            ModelError: It leads out of it.
        """
        path = PurePosixPath(stated.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in stated:
            raise ModelError(
                f"{self.shown}: weights at {stated!r:.120} lie outside of the bundle; "
                "refused"
            )
        return str(path)

    def _require_inside(self, file: Path, name: str) -> None:
        if not file.resolve().is_relative_to(self.path.resolve()):
            raise ModelError(
                f"{self.shown}: {name} is a link out of the bundle; refused"
            )


def is_bundle(path: Path) -> bool:
    """Whether a path is a MONAI bundle, a folder or a zip."""
    if path.is_file():
        return path.suffix.lower() == ".zip" and any(
            PurePosixPath(name).parent.name == CONFIGS
            and PurePosixPath(name).name in INFERENCE
            for name in names_in(path)
        )
    return any((path / CONFIGS / name).is_file() for name in (*INFERENCE, METADATA))


@contextmanager
def opened(path: Path) -> Iterator[BundleFolder]:
    """The bundle of a folder, or of a zip, which is unpacked while it is used.

    Raises:
        MissingFileError: There is none.
        ModelError: A name in the zip leads out of it.
    """
    if not path.is_file():
        yield BundleFolder(path, str(path))
        return
    with tempfile.TemporaryDirectory(prefix="medseg_bundle_") as place:
        unpack(path, Path(place), wanted=_is_wanted)
        above = [Path(place).glob("*/" * level) for level in range(1, _MOST_LEVELS + 1)]
        folders = [Path(place), *(folder for level in above for folder in level)]
        found = [folder for folder in folders if folder.is_dir() and is_bundle(folder)]
        if len(found) != 1:
            raise MissingFileError(
                f"{path}: holds {len(found)} bundles, expected one: a folder with "
                f"{CONFIGS}/{INFERENCE[0]} and {MODELS}/{WEIGHTS[0]}"
            )
        yield BundleFolder(found[0], str(path))


def _is_wanted(name: PurePosixPath) -> bool:
    return _WANTED.fullmatch(str(name)) is not None
