"""A trained model as MLflow's ``python_function``: scans in, label maps out.

``mlflow.pyfunc.load_model`` and ``mlflow models serve`` load it by this module's name.
A row is one scan, a path or a NIfTI file in base64; its label map comes back as a file
in base64, or as a path where a folder is asked for. Each goes through
`medseg.prediction.predict`, so that it has the voxels that `medseg predict` writes.
"""

from __future__ import annotations

import base64
import binascii
import shutil
import threading
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from medseg.errors import InputError, MedsegError, OutputError
from medseg.prediction.one_image import find_scan
from medseg.prediction.predict import predict
from medseg.prediction.records import FAILED, Prediction
from medseg.prediction.scan import Scan
from medseg.prediction.segmentation_model import SegmentationModel
from medseg.tracking.mlmodel import IMAGE, OUTPUT_FOLDER

if TYPE_CHECKING:
    import pandas as pd

GZIP, NIFTI = b"\x1f\x8b", (b"\x5c\x01\x00\x00", b"\x00\x00\x01\x5c")
"""How compressed files begin, and NIfTI headers of either byte order."""


class ServedModel:
    """A model behind MLflow's interface; scans are segmented one after another."""

    def __init__(self, model: SegmentationModel) -> None:
        self._model = model
        self._busy = threading.Lock()

    def get_raw_model(self) -> SegmentationModel:
        """The model itself, as ``loaded.get_raw_model()`` asks for it."""
        return self._model

    def predict(
        self, model_input: pd.DataFrame, params: Mapping[str, Any] | None = None
    ) -> pd.DataFrame:
        """What became of each scan; one that fails is said in its row.

        Args:
            model_input: A row for each scan: the column ``image`` holds a path or a
                NIfTI file in base64; where scans have a file for each channel, the
                columns named as the channels do.
            params: ``output_folder`` asks for files there, which must not exist, in
                place of base64.

        Returns:
            A row for each scan, with the columns of the model's signature.
        """
        import pandas as pd

        asked = (params or {}).get(OUTPUT_FOLDER)
        folder = Path(asked) if asked else None
        columns = set(self._model.labels.names)
        rows = []
        for number, given in enumerate(model_input.to_dict(orient="records")):
            sources = self._sources(given)
            with self._busy, TemporaryDirectory(prefix="medseg_served_") as scratch:
                rows.append(self._row(sources, f"scan_{number}", Path(scratch), folder))
        table = pd.DataFrame(rows)
        missing = [f"{name}_ml" for name in columns if f"{name}_ml" not in table]
        table = table.assign(**dict.fromkeys(missing)).astype(object)
        return table.where(table.notna(), None)  # in JSON null: there is no NaN

    def _sources(self, given: Mapping[Any, Any]) -> list[str]:
        """What a row holds: one text, or one for each channel."""
        texts = {str(k): v for k, v in given.items() if isinstance(v, str) and v}
        if IMAGE in texts:
            return [texts[IMAGE]]
        return [texts[name] for name in self._model.channels if name in texts]

    def _row(
        self, sources: list[str], name: str, scratch: Path, folder: Path | None
    ) -> dict[str, Any]:
        try:
            scan = self._scan(sources, name, scratch)
            line = predict(self._model, [scan], scratch / "out")[0]
            answer = _answer(line, scratch / "out", folder)
        except MedsegError as error:
            line, answer = Prediction(name, FAILED, reason=str(error)), None
        return {
            "name": line.scan,
            "status": line.status,
            "label_map": answer,
            **{f"{name}_ml": volume for name, volume in line.volumes_ml.items()},
            "plausibility": line.plausibility,
            "suspect_because": "; ".join(line.doubts),
            "warnings": "; ".join(line.warnings),
            "reason": line.reason,
        }

    def _scan(self, sources: list[str], name: str, scratch: Path) -> Scan:
        """The scan that a row means.

        Raises:
            InputError: It holds none, or neither a path nor a NIfTI file.
        """
        channels = self._model.channels
        if len(sources) not in (1, len(channels)):
            raise InputError(
                f"{name}: {len(sources)} files, expected one in the column {IMAGE}, or "
                f"one in each of {', '.join(channels)}"
            )
        plan = self._model.saved.plan
        decoded = [_decoded(source) for source in sources]
        if all(content is None for content in decoded):
            return find_scan([Path(source) for source in sources], plan, series=())
        files = []
        for number, content in enumerate(decoded):
            if content is None:
                raise InputError(f"{name}: paths and files in base64 do not mix")
            suffix = ".nii.gz" if content.startswith(GZIP) else ".nii"
            file = scratch / str(number) / f"{name}{suffix}"
            file.parent.mkdir()
            file.write_bytes(content)
            files.append(file)
        return Scan.of_files(name, files)


def _decoded(source: str) -> bytes | None:
    """The file that a text in base64 holds; None where it is a path.

    Raises:
        InputError: It is neither.
    """
    try:
        content = base64.b64decode(source, validate=True)
    except (binascii.Error, ValueError):
        content = b""
    if content.startswith((GZIP, *NIFTI)):
        return content
    if len(source) > 4096 or "\0" in source:
        raise InputError(
            f"{source[:20]}...: neither a path nor a NIfTI file in base64 (.nii or "
            ".nii.gz, its whole content)"
        )
    return None


def _answer(line: Prediction, out: Path, folder: Path | None) -> str | None:
    """The label map: the path of its copy in a folder, else its file in base64.

    Raises:
        OutputError: The folder holds a file of this name, or cannot be written.
    """
    if not line.is_segmented:
        return None
    made = out / line.outputs[0]
    if folder is None:
        return base64.b64encode(made.read_bytes()).decode("ascii")
    target = folder / made.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as stream, made.open("rb") as source:
            shutil.copyfileobj(source, stream)
    except FileExistsError as error:
        raise OutputError(
            f"{target}: there is such a file already, and a server overwrites nothing; "
            f"remove it or ask for another {OUTPUT_FOLDER}"
        ) from error
    except OSError as error:
        raise OutputError(f"{target}: cannot be written: {error.strerror}") from error
    return str(target)


def _load_pyfunc(
    path: str, model_config: Mapping[str, Any] | None = None
) -> ServedModel:
    """What MLflow calls with the folder of a logged model.

    Args:
        path: The model folder, with ``MLmodel`` beside its files.
        model_config: ``device``: ``auto``, ``cpu``, ``cuda`` or ``cuda:n``.
    """
    device = str((model_config or {}).get("device", "auto"))
    return ServedModel(SegmentationModel.load(Path(path), device=device))
