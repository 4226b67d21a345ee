"""The configuration of a run: one YAML file, one complete story."""

import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import (
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    field_validator,
)

from medseg.errors import ONE_AXIS, SettingsError
from medseg.evaluation.settings import MetricSettings
from medseg.inference.settings import InferenceSettings
from medseg.instances.targets import Target
from medseg.io import is_scan
from medseg.model import DESCRIPTION
from medseg.networks.settings import NetworkSettings
from medseg.plugins import PluginName, PluginSettings, anchored
from medseg.preparation.presets import Preset
from medseg.settings import Settings, apply_overrides, parse_settings, read_yaml
from medseg.shipped_configs import find_config
from medseg.store.store import SUMMARY
from medseg.tracking.address import require_no_credentials, require_tracking_uri
from medseg.training.settings import TrainingSettings
from medseg.types import AnyPath

_DATA = (".csv", ".tsv", ".json")
_LABEL_KEYS = {"labels", "channels", "licence", "citation", "checksums", "instances"}


def kind_of_path(path: Path) -> str:
    """What a path is, by its name and folder; empty for a file that may be YAML."""
    if path.is_dir():
        return _kind_of_folder(path)
    if path.suffix.lower() in _DATA:
        return (
            "a data set, where a YAML configuration is expected; write "
            f"medseg train --data {path}"
        )
    if path.suffix.lower() not in {".yaml", ".yml"} and is_scan(path):
        return (
            "a scan, where a YAML configuration is expected; a data set is named by "
            "--data"
        )
    return ""


def _kind_of_folder(folder: Path) -> str:
    if (folder / SUMMARY).is_file():
        return f"a prepared store; write medseg train --data {folder}"
    if (folder / "config.yaml").is_file():
        return (
            f"a run; to continue it, medseg train --resume {folder}; to train another "
            f"one like it, medseg train {folder / 'config.yaml'} -o RUN"
        )
    if (folder / DESCRIPTION).is_file():
        return "a model folder; medseg predict takes it"
    return (
        "a folder, where a YAML configuration is expected; a data set is named by "
        f"--data: medseg train --data {folder}"
    )


def kind_of_values(values: Mapping[str, Any], path: Path) -> str:
    """What a YAML file is, by its keys; empty for a configuration of a run."""
    if "variations" in values:
        return f"a study of several runs; write medseg compare {path}"
    if "network" in values and "patch_size" in values:
        return (
            f"a plan; medseg prepare --plan {path} makes a store by it, and a "
            "configuration has single values of it under plan:"
        )
    if "weights_sha256" in values:
        return "describes a model; medseg predict takes its folder"
    if set(values) & _LABEL_KEYS:
        return (
            "describes a data set, where a YAML configuration of a run is expected; "
            f"write medseg train --data {path}"
        )
    return ""


class PreparationSettings(Settings):
    """How a data set is prepared, where it is not prepared yet."""

    spatial_dims: Literal[2, 3] | None = None
    """3 for patches, 2 for slices; None decides from the data."""
    instance_target: Target | Literal["none"] | None = None
    """What the network learns of single objects, where labels number them:
    ``border``, ``depth`` or ``none`` (their union); None chooses."""
    target_spacing: tuple[PositiveFloat, PositiveFloat, NonNegativeFloat] | None = None
    """Voxel size in mm that scans are resampled to, along (i, j, k); None chooses.
    In 2D the third is 0: slices stay where they are."""
    num_folds: int = Field(default=5, ge=2)
    """Folds, split by patient, unless the data set came with its own."""
    seed: int = 0
    """Another seed gives other folds."""
    skip_broken: bool = False
    """Go on without cases that cannot be read."""

    @field_validator("spatial_dims", mode="before")
    @classmethod
    def _not_one_axis(cls, value: object) -> object:
        if value == 1 and not isinstance(value, bool):
            raise ValueError(ONE_AXIS)
        return value


class PlanChanges(Settings):
    """Numbers of the plan that this run replaces; the store stays as it is."""

    preset: Preset | None = None
    """A published recipe, such as ``resenc_m``: sets network, patch and batch for
    the data; what is given beside it goes before it."""
    patch_size: tuple[PositiveInt, ...] | None = None
    """Voxels of a training patch."""
    batch_size: int | None = Field(default=None, ge=1)
    """Patches per step."""
    network: NetworkSettings | None = None
    """The network."""

    @field_validator("patch_size")
    @classmethod
    def _not_one_axis(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if value is not None and len(value) == 1:
            raise ValueError(ONE_AXIS)
        return value


class TrackerSettings(PluginSettings):
    """A `RunLogger` by path, told ``folder=`` and ``run_name=`` where it takes them."""


class TrackingSettings(Settings):
    """Where runs are tracked."""

    experiment: str | None = None
    """MLflow experiment; None takes the data set's name."""
    uri: str | None = None
    """Tracking server, without user or password; None takes MLFLOW_TRACKING_URI, else
    an SQLite file beside the runs."""
    enabled: bool = True
    """False tracks nothing in MLflow."""
    system_metrics: bool = False
    """Also track the load of processor, memory, disk and GPU, every 10 seconds."""
    loggers: tuple[TrackerSettings, ...] = ()
    """Others by path that are told the same, see `RunLogger`."""

    @field_validator("uri")
    @classmethod
    def _usable(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                require_tracking_uri(value)
                require_no_credentials(value)
            except SettingsError as error:
                raise ValueError(str(error).removeprefix("tracking.uri: ")) from error
        return value


class RunConfig(Settings):
    """Everything about a run.

    Examples:
        >>> import medseg
        >>> config = medseg.RunConfig(fold=1, training={"budget": "15m"})
        >>> config.training.budget, config.training.loss.name
        (900.0, 'dice_ce')
    """

    data: Path | None = None
    """Data set or prepared store; ``--data`` goes before it."""
    root: Path | None = None
    """Folder that a manifest's paths start from; None takes the manifest's own."""
    readers: tuple[PluginName, ...] = ()
    """Readers by path, of files that medseg does not know."""
    layouts: tuple[PluginName, ...] = ()
    """Layouts of data sets by path."""
    prepare: PreparationSettings = PreparationSettings()
    """Only used where the data is not prepared yet."""
    plan: PlanChanges = PlanChanges()
    """Changes to the plan for this run."""
    fold: int | None = Field(default=0, ge=0)
    """Fold that is held out; None trains on all cases."""
    training: TrainingSettings = TrainingSettings()
    """How to train."""
    inference: InferenceSettings = InferenceSettings()
    """How the held-out cases are segmented at the end."""
    postprocessing: Literal["auto", "none"] = "auto"
    """``auto``: rules that raise Dice beyond chance on the held-out cases are kept
    with the model, for `predict`; the scores of the run are without them."""
    metrics: MetricSettings = MetricSettings()
    """How they are scored."""
    tracking: TrackingSettings = TrackingSettings()
    """Where the run is tracked."""


def configure(
    config: AnyPath | Mapping[str, Any] | RunConfig | None,
    settings: Sequence[str] = (),
    *,
    data: AnyPath | None = None,
    root: AnyPath | None = None,
    fold: int | None = 0,
    budget: str | None = None,
    epochs: int | None = None,
    steps: int | None = None,
    init: AnyPath | None = None,
    change: Callable[[Mapping[str, Any]], dict[str, Any]] = dict,
) -> RunConfig:
    """A configuration with what a call from Python says beside it.

    Args:
        config: A YAML file, values as nested dictionaries, one that is resolved, or
            None for one that leaves everything open.
        settings: Overrides such as ``"training.seed=1"``.
        data: Goes before the configuration's own, where given.
        root: Likewise.
        fold: Which fold is held out; None trains on all cases.
        budget: A length, which goes before the configuration's own.
        epochs: Likewise.
        steps: Likewise.
        init: The model to begin with, which goes before the configuration's own.
        change: Changes the values at last.

    Raises:
        MissingFileError: There is no such file.
        SettingsError: A key is unknown or a value is wrong; each is named by path.
    """
    if isinstance(config, RunConfig):
        values: dict[str, Any] = config.model_dump(mode="json", exclude_unset=True)
        source = "config"
    elif config is None or isinstance(config, Mapping):
        values, source = dict(config or {}), "config"
    else:
        values, source = read_config_values(Path(config)), str(config)
    values = apply_overrides(values, list(settings))
    values["fold"] = fold
    for name, path in (("data", data), ("root", root)):
        if path is not None:
            values[name] = str(path)
    lengths = {"budget": budget, "epochs": epochs, "steps": steps}
    if any(length is not None for length in lengths.values()):
        values["training"] = {**values.get("training", {}), **lengths}
    if init is not None:
        values = apply_overrides(
            values, [f"training.init.model={json.dumps(str(init))}"]
        )
    values = anchored(change(values), Path.cwd())
    return parse_settings(RunConfig, values, source=source)


def read_config(path: Path | None, overrides: list[str]) -> RunConfig:
    """The configuration of a YAML file, with ``--set`` overrides applied.

    Args:
        path: The file, the name of one that comes with medseg, or None for one that
            leaves everything open.
        overrides: Such as ``training.seed=1``.

    Raises:
        MissingFileError: There is no such file.
        SettingsError: It is something else, a key is unknown or a value is wrong; each
            is named by path.
    """
    values = {} if path is None else read_config_values(path)
    values = anchored(apply_overrides(values, overrides), Path.cwd())
    source = "settings" if path is None else str(path)
    return parse_settings(RunConfig, values, source=source)


def read_config_values(path: Path) -> dict[str, Any]:
    """What a configuration's YAML file, or one that comes with medseg, holds.

    Raises:
        MissingFileError: There is no such file.
        SettingsError: It is no configuration of a run; what it is, is said.
    """
    path = find_config(path)
    if kind := kind_of_path(path):
        raise SettingsError(f"{path}: {kind}")
    values: Any = read_yaml(path) or {}
    if not isinstance(values, dict):
        parse_settings(RunConfig, values, source=str(path))  # says what it is
    if kind := kind_of_values(values, path):
        raise SettingsError(f"{path}: {kind}")
    return dict(anchored(values, path.parent))


def dump_config(config: RunConfig) -> str:
    """The resolved configuration as YAML, every default written out."""
    text: str = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
    return text


def with_whole_paths(config: RunConfig) -> RunConfig:
    """The configuration with paths that mean the same from any folder."""
    paths = {"data": config.data, "root": config.root}
    whole: dict[str, object] = {
        name: path.absolute() for name, path in paths.items() if path is not None
    }
    init = config.training.init
    if init is not None:
        init = init.replaced(model=init.whole_path)
        whole["training"] = config.training.replaced(init=init)
    return config.replaced(**whole)


def code_commit() -> str:
    """Commit of the working tree that this code runs from; empty where unknown."""
    try:
        answer = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
            timeout=5,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout.strip()
