"""What a network is, costs, sees and gets wrong: from a model, a plan or a config."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from medseg.errors import MissingFileError, SettingsError
from medseg.model import DESCRIPTION, load_model
from medseg.networks.build import build_network
from medseg.networks.costs import Precision
from medseg.networks.inspection import Inspection, inspect_network
from medseg.networks.network import SegmentationNetwork
from medseg.networks.settings import NetworkSettings
from medseg.plan import Plan, read_plan
from medseg.reporting.network_page import write_network_page
from medseg.settings import read_yaml
from medseg.workflows.run_config import RunConfig, read_config

PLAN = "plan.yaml"


@dataclass(frozen=True)
class Subject:
    """A network and what it is used for.

    Attributes:
        title: For people.
        network: Trained or fresh.
        settings: It was built from.
        patch_size: Spatial size of a training patch.
        batch_size: Patches per step.
    """

    title: str
    network: SegmentationNetwork
    settings: NetworkSettings
    patch_size: tuple[int, ...]
    batch_size: int


def inspect(
    source: Path,
    *,
    out: Path | None = None,
    precision: Precision = "float32",
    overrides: list[str] | None = None,
) -> Inspection:
    """Looks at a network without training it.

    Args:
        source: A model or run folder; a plan, or a folder with a ``plan.yaml``; or a
            run's configuration that names a network and a patch size, or prepared
            data.
        out: Folder for ``inspect.html`` and ``inspect.png``; None writes nothing.
        precision: What autocast will compute convolutions in.
        overrides: ``key=value`` for a configuration.

    Raises:
        MissingFileError: There is nothing at `source`.
        SettingsError: It does not say which network, or for which patches.
    """
    subject = find_subject(source, overrides or [])
    found = inspect_network(
        subject.network,
        subject.settings,
        patch_size=subject.patch_size,
        batch_size=subject.batch_size,
        precision=precision,
    )
    if out is not None:
        write_network_page(out, found, title=subject.title)
    return found


def find_subject(source: Path, overrides: list[str]) -> Subject:
    """The network that a path names.

    Raises:
        MissingFileError: There is nothing at `source`.
        SettingsError: It does not say which network, or for which patches.
    """
    if not source.exists():
        raise MissingFileError(f"{source}: no such file or folder")
    if source.is_dir():
        if (source / DESCRIPTION).is_file() or (source / "model").is_dir():
            return _trained(source)
        return _fresh(read_plan(source / PLAN), title=f"fresh, {source.name}")
    values: Any = read_yaml(source)
    if isinstance(values, dict) and "labels" in values and "network" in values:
        return _fresh(read_plan(source), title=f"fresh, {source.stem}")
    return _configured(read_config(source, overrides), source)


def _trained(folder: Path) -> Subject:
    model = load_model(folder)
    network = model.network
    assert isinstance(network, SegmentationNetwork)
    plan = model.plan
    title = f"{plan.network.name} trained on {plan.name} ({model.identity})"
    return Subject(title, network, plan.network, plan.patch_size, plan.batch_size)


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


def _configured(config: RunConfig, source: Path) -> Subject:
    """A configuration over prepared data, or one that says everything itself."""
    changes = config.plan.model_dump(exclude_none=True)
    store = config.data
    if store is not None and (store / PLAN).is_file():
        plan = read_plan(store / PLAN)
        changed = Plan.model_validate({**plan.model_dump(), **changes})
        return _fresh(changed, title=f"fresh, {source.stem}")
    if config.plan.network is None or config.plan.patch_size is None:
        raise SettingsError(
            f"{source}: which network on which patches is decided when the data is "
            "prepared: set plan.network and plan.patch_size, or data to a prepared "
            "store, or inspect the store itself"
        )
    torch.manual_seed(0)
    size = config.plan.patch_size
    network = build_network(
        config.plan.network, spatial_dims=len(size), in_channels=1, out_channels=2
    )
    return Subject(
        f"{config.plan.network.name} (fresh, {source.stem}; one channel, two classes)",
        network,
        config.plan.network,
        size,
        config.plan.batch_size or 1,
    )
