"""The files that make a model folder one of MLflow's: ``MLmodel`` and what it needs.

MLflow's ``python_function`` flavour names a module that loads the folder. Nothing is
pickled: loading goes through `medseg.load_model`, which executes nothing of the folder.
"""

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from medseg import __version__

if TYPE_CHECKING:
    from mlflow.models import ModelSignature

MLMODEL = "MLmodel"
LOADER = "medseg.serving.pyfunc"
"""Module that MLflow loads the folder with; folders that were logged name it for ever.
"""

IMAGE, OUTPUT_FOLDER = "image", "output_folder"
"""Column that a scan is given in, and parameter that asks for files."""


def write_mlmodel(
    folder: Path,
    *,
    channels: Sequence[str],
    labels: Mapping[str, int],
    run_id: str,
    model_id: str | None,
) -> None:
    """Writes ``MLmodel`` and the requirements that MLflow builds environments from.

    Args:
        folder: Where to; the model folder's own files need not be there.
        channels: What each channel of a scan must hold, in order.
        labels: Value in label maps of each structure.
        run_id: The run that trained the model.
        model_id: How MLflow names the model; none on servers that keep no models.

    Raises:
        OSError: The folder cannot be written.
    """
    from mlflow.models import Model

    about = {"medseg": __version__, "channels": list(channels), "labels": dict(labels)}
    model = Model(
        artifact_path=None if model_id else "model",
        run_id=run_id,
        model_id=model_id,
        signature=signature_of(channels, labels),
        metadata=about,
    )
    model.add_flavor(
        "python_function",
        loader_module=LOADER,
        python_version=platform.python_version(),
        env={"virtualenv": "python_env.yaml"},
        config={"device": "auto"},
    )
    needed = [f"medseg=={__version__}", f"mlflow=={version('mlflow')}"]
    (folder / "requirements.txt").write_text("\n".join(needed) + "\n", encoding="utf-8")
    python = {
        "python": platform.python_version(),
        "build_dependencies": ["pip"],
        "dependencies": ["-r requirements.txt"],
    }
    (folder / "python_env.yaml").write_text(yaml.safe_dump(python), encoding="utf-8")
    model.save(folder / MLMODEL)


def signature_of(
    channels: Sequence[str], labels: Mapping[str, int]
) -> "ModelSignature":
    """What the model takes and gives, in MLflow's words.

    A row is a scan: a path, or a NIfTI file in base64, in the column ``image``; scans
    of several files, one for each channel, in columns that are named as the channels.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

    text, several = DataType.string, len(channels) > 1
    names = [IMAGE, *(channels if several else ())]
    inputs = [ColSpec(text, name, required=not several) for name in names]
    outputs = [ColSpec(text, name) for name in ("name", "status", "label_map")]
    outputs += [ColSpec(DataType.double, f"{name}_ml") for name in labels]
    after = ("plausibility", "suspect_because", "warnings", "reason")
    outputs += [ColSpec(text, name) for name in after]
    params = ParamSchema([ParamSpec(OUTPUT_FOLDER, text, "")])
    return ModelSignature(Schema([*inputs]), Schema([*outputs]), params)
