"""What a network is, costs, sees and gets wrong: from a model, a plan or a config."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from medseg.errors import MissingFileError, SettingsError
from medseg.model import DESCRIPTION, load_model
from medseg.networks.analysis.costs import Precision
from medseg.networks.analysis.inspection import Inspection, inspect_network
from medseg.networks.build import build_network
from medseg.networks.network import SegmentationNetwork
from medseg.networks.settings import NetworkSettings
from medseg.plan import Plan, read_plan
from medseg.reporting.network_page import write_network_page
from medseg.runs.config import RunConfig, read_config
from medseg.runs.resolve import change_plan, require_used
from medseg.runs.setup import allow_plugins
from medseg.settings import apply_overrides, parse_settings, read_yaml
from medseg.shipped_configs import find_config
from medseg.shipped_models import find_starter
from medseg.store import Store
from medseg.studies.study import read_study

PLAN, STORE = "plan.yaml", "store.json"


@dataclass(frozen=True)
class Subject:
    """A network and what it is used for.

    Attributes:
        title: For people.
        network: Trained or fresh.
        settings: It was built from.
        patch_size: Spatial size of a training patch.
        batch_size: Patches per step.
        trained: Whether its weights were learnt.
    """

    title: str
    network: SegmentationNetwork
    settings: NetworkSettings
    patch_size: tuple[int, ...]
    batch_size: int
    trained: bool = False


def inspect(
    source: Path,
    *,
    out: Path | None = None,
    precision: Precision = "float32",
    overrides: list[str] | None = None,
    channels: int | None = None,
    classes: int | None = None,
) -> Inspection:
    """Examines a network without training it.

    Args:
        source: A model or run folder; a plan, or a folder with a ``plan.yaml``; a
            run's configuration that names a network and a patch size, or prepared
            data; or a study, of which ``variation=NAME`` names one variation.
        out: Folder for ``inspect.html`` and ``inspect.png``; None writes nothing.
        precision: What autocast will compute convolutions in.
        overrides: ``key=value`` for a configuration.
        channels: Of images, for a configuration without data; 1 by default.
        classes: With background, likewise; 2 by default.

    Raises:
        MissingFileError: There is nothing at `source`.
        SettingsError: It does not say which network, or for which patches; or the
            patch is none that an unpadded network takes; or the data say how many
            channels and classes there are.
    """
    subject = find_subject(source, overrides or [], channels=channels, classes=classes)
    found = inspect_network(
        subject.network,
        subject.settings,
        patch_size=subject.patch_size,
        batch_size=subject.batch_size,
        precision=precision,
        trained=subject.trained,
    )
    if out is not None:
        write_network_page(out, found, title=subject.title)
    return found


def find_subject(
    source: Path,
    overrides: list[str],
    *,
    channels: int | None = None,
    classes: int | None = None,
) -> Subject:
    """The network that a path names; see `inspect` for channels and classes.

    Raises:
        MissingFileError: There is nothing at `source`.
        SettingsError: It does not say which network, or for which patches.
    """
    if not source.is_dir():
        source = find_starter(source) or find_config(source)
    sizes = {"channels": channels, "classes": classes}
    if source.is_dir():
        _require_open(source, **sizes)
        if (source / DESCRIPTION).is_file() or (source / "model").is_dir():
            return _trained(source)
        if not (source / PLAN).is_file():
            raise MissingFileError(
                f"{source}: neither a model, a run nor a store: it has no model.yaml, "
                f"no folder model and no {PLAN}; for a data set, medseg init writes a "
                "configuration that can be inspected"
            )
        return _fresh(read_plan(source / PLAN), title=f"fresh, {source.name}")
    values: Any = read_yaml(source)
    known = values if isinstance(values, dict) else {}
    if "labels" in known and "network" in known:
        _require_open(source, **sizes)
        return _fresh(read_plan(source), title=f"fresh, {source.stem}")
    if "variations" in known:
        return _variation(source, overrides, **sizes)
    config = read_config(source, overrides)
    return _configured(config, source, name=source.stem, **sizes)


def _require_open(source: Path, *, channels: int | None, classes: int | None) -> None:
    """Refuses numbers that the model or the data settle.

    Raises:
        SettingsError: Some were given.
    """
    if channels is not None or classes is not None:
        raise SettingsError(
            f"{source}: says itself how many channels and classes there are; leave "
            "--channels and --classes out"
        )


def _trained(folder: Path) -> Subject:
    model = load_model(folder)
    network = model.network
    assert isinstance(network, SegmentationNetwork)
    plan = model.plan
    title = f"{plan.network.name} trained on {plan.name} ({model.identity})"
    return Subject(
        title,
        network,
        plan.network,
        plan.patch_size,
        plan.batch_size,
        trained=True,
    )


def _fresh(plan: Plan, *, title: str) -> Subject:
    torch.manual_seed(0)
    network = build_network(
        plan.network,
        spatial_dims=plan.spatial_dims,
        in_channels=len(plan.channels),
        out_channels=plan.num_outputs,
    )
    name = f"{plan.network.name} ({title})"
    return Subject(name, network, plan.network, plan.patch_size, plan.batch_size)


def _variation(
    source: Path,
    overrides: list[str],
    *,
    channels: int | None,
    classes: int | None,
) -> Subject:
    """One variation of a study, named by an override ``variation=NAME``."""
    chosen = [text for text in overrides if text.startswith("variation=")]
    others = [text for text in overrides if text not in chosen]
    study, runs = read_study(source)
    configs = {run.variation: run.config for run in runs}
    name = chosen[-1].removeprefix("variation=") if chosen else ""
    if name not in configs:
        raise SettingsError(
            f"{source}: a study; name one of its variations, such as --set "
            f"variation={next(iter(configs))}; there are {', '.join(configs)}"
        )
    values = configs[name].model_dump(mode="json", exclude_unset=True)
    values = {"data": None if study.data is None else str(study.data), **values}
    where = f"{source}: variation {name}"
    config = parse_settings(RunConfig, apply_overrides(values, others), source=where)
    return _configured(config, source, name=name, channels=channels, classes=classes)


def _configured(
    config: RunConfig,
    source: Path,
    *,
    name: str,
    channels: int | None,
    classes: int | None,
) -> Subject:
    """A configuration over prepared data, or one that says everything itself."""
    allow_plugins(config)
    if config.data is not None and (config.data / STORE).is_file():
        _require_open(config.data, channels=channels, classes=classes)
        store = Store.open(config.data)
        plan = change_plan(store.plan, config, fingerprint=store.fingerprint)
        return _fresh(plan, title=f"fresh, {name}")
    require_used(config)
    network, size = config.plan.network, config.plan.patch_size
    if network is None or size is None:
        raise SettingsError(
            f"{source}: which network on which patches is decided when the data is "
            "prepared: --set data=STORE, a prepared store, or --set plan.patch_size "
            "and plan.network, or inspect the store itself"
        )
    torch.manual_seed(0)
    inputs, outputs = channels or 1, classes or 2
    built = build_network(
        network, spatial_dims=len(size), in_channels=inputs, out_channels=outputs
    )
    if any(built.output_margin):
        built.output_shape(size)  # refused where it cannot be taken as it is
    return Subject(
        f"{network.name} (fresh, {name}; channels: {inputs}, classes: {outputs})",
        built,
        network,
        size,
        config.plan.batch_size or 1,
    )
