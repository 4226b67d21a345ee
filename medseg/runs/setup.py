"""What is settled before a run's first step: data, plan, settings, split."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml

from medseg.files import hash_text, write_text
from medseg.networks.settings import PluginNetworkSettings
from medseg.plan import CONTRAST_LIMITS, Plan, write_plan
from medseg.plugins import (
    Kind,
    PluginSource,
    allow_named,
    find,
    names_in,
    portable_name,
    use,
)
from medseg.progress import Progress
from medseg.runs.config import RunConfig, dump_config, with_whole_paths
from medseg.runs.data import open_data, split
from medseg.runs.parent import (
    Parent,
    announce_parent,
    open_parent,
    refuse_preset,
    write_parent,
)
from medseg.runs.resolve import change_plan, settle_training, with_mirrors
from medseg.runs.time_spent import TimeSpent
from medseg.store import Store
from medseg.training.process_group import ProcessGroup
from medseg.training.settings import TrainingSettings

FILE = "plugins.yaml"
"""In a run's folder."""

KINDS: dict[str, Kind] = {
    "network": "networks",
    "loss": "losses",
    "optimizer": "optimizers",
    "schedule": "schedules",
    "sampling": "samplers",
    "transforms": "transforms",
    "extra": "metrics",
    "loggers": "trackers",
    "readers": "readers",
    "layouts": "layouts",
}
"""What a plug-in is, by the key of the configuration that names it."""


def allow_plugins(config: RunConfig) -> None:
    """Allows what the user's own configuration names; readers and layouts are used.

    Raises:
        PluginError: One cannot be found.
    """
    allow_named(config)
    for name in config.readers:
        use(name, kind="readers")
    for name in config.layouts:
        use(name, kind="layouts")


def plugins_of(config: RunConfig, plan: Plan) -> dict[str, tuple[str, PluginSource]]:
    """Name and source of every plug-in of a run, by its place in the configuration.

    Raises:
        PluginError: One cannot be found.
    """
    found: dict[str, tuple[str, PluginSource]] = {}
    for path, name in names_in(config):
        keys = [key for key in path.split(".") if key in KINDS]
        plugin = find(name, kind=KINDS[keys[-1]])
        place = path.removesuffix(".name").removesuffix(".strategy")
        found[place] = (portable_name(name), plugin.source)
    network = plan.network
    if isinstance(network, PluginNetworkSettings):
        found["plan.network"] = (network.name, network.source or PluginSource())
    return found


def write_plugins(out: Path, config: RunConfig, plan: Plan) -> dict[str, str]:
    """Writes ``plugins.yaml`` where a run has plug-ins; returns each one's in words.

    Raises:
        OutputError: The folder cannot be written.
        PluginError: One cannot be found.
    """
    plugins = plugins_of(config, plan)
    if not plugins:
        return {}
    values = {
        place: {"name": name, **source.model_dump()}
        for place, (name, source) in plugins.items()
    }
    write_text(out / FILE, yaml.safe_dump(values, sort_keys=False))
    return {
        place: f"{n}, {source.describe()}" for place, (n, source) in plugins.items()
    }


@dataclass(frozen=True)
class RunSetup:
    """A run before its first step.

    Attributes:
        config: The configuration, with everything decided that it left open.
        out: The run's folder.
        store: The prepared data.
        plan: Of the data, with the run's own changes.
        train_ids: Cases to train on.
        held_out: Cases to score; none where the run trains on all.
        device: Where it is trained.
        processes: The processes that train together.
        progress: Shows progress.
        spent: Where the run's time goes.
        parent: The trained model that it begins with; None: random weights.
        num_seen_before: Held-out cases that the parent may know; None: nobody knows.
    """

    config: RunConfig
    out: Path
    store: Store
    plan: Plan
    train_ids: tuple[str, ...]
    held_out: tuple[str, ...]
    device: torch.device
    processes: ProcessGroup
    progress: Progress
    spent: TimeSpent = field(default_factory=TimeSpent)
    parent: Parent | None = None
    num_seen_before: int | None = None

    @property
    def settings(self) -> TrainingSettings:
        """How to train."""
        return self.config.training

    @property
    def identity(self) -> str:
        """What a checkpoint must agree with: data, plan, and settings that matter.

        A run may be resumed with another length, on another machine, and with the
        data in another place, under another name.
        """
        lasting = _lasting(self.settings)
        decided = self.plan.model_dump_json(
            exclude={
                "reasons": True,
                "name": True,
                "network": {"source"},
                "channels": {"__all__": CONTRAST_LIMITS},
            }
        )
        parts = [self.store.manifest_hash, decided, lasting, str(self.config.fold)]
        parts += sorted(self.train_ids)
        if any(any(c.contrast_limits) for c in self.plan.channels):
            parts.append(f"{[c.contrast_limits for c in self.plan.channels]}")
        if self.store.case(self.train_ids[0]).is_painted:
            parts.append("painted")
        if self.parent is not None:
            init = self.parent.init.model_dump_json(exclude={"model"})
            parts += ["begins with", self.parent.weights_sha256, init]
        return hash_text("\n".join(parts))


def _lasting(settings: TrainingSettings) -> str:
    """Settings of training that a resumed run may not change, as JSON.

    Files of plug-ins go by their names, since their folder may move; what a setting
    of a plug-in leaves empty is left out, as earlier versions did not know it.
    """
    exclude: dict[str, Any] = {
        "init": True,
        "budget": True,
        "clock": True,
        "epochs": True,
        "steps": True,
        "checkpoint_every": True,
        "validation_share": True,
        "accumulate": True,
        "recompute": True,
        "compile": True,
        "early_stop": True,
        "deterministic": True,
        "sampling": {"cache"},
    }
    for key in ("sampling", "optimizer", "schedule"):
        if not getattr(settings, key).args:
            exclude[key] = {*exclude.get(key, ()), "args"}
    augmentation = settings.augmentation
    if augmentation is not None and not augmentation.transforms:
        exclude["augmentation"] = {"transforms"}
    text = settings.model_dump_json(exclude=exclude)
    for _, name in names_in(settings):
        text = text.replace(json.dumps(name), json.dumps(portable_name(name)))
    return text


def set_up_run(
    config: RunConfig,
    out: Path,
    *,
    device: torch.device,
    processes: ProcessGroup,
    progress: Progress,
) -> RunSetup:
    """Prepares the data if need be, and decides what the configuration leaves open.

    Raises:
        SettingsError: The configuration does not fit the data.
        LostProcessError: Another process of the same run ended.
        MedsegError: Data or folder cannot be used.
    """
    spent = TimeSpent()
    refuse_preset(config.training.init, config.plan.preset)
    parent = open_parent(config.training.init, out)
    with spent.measure("preparing data"):
        store = _open_together(config, out, device, processes, progress)
    config.metrics.require_names(store.plan.labels)
    plan = store.plan
    if parent is not None:
        plan = parent.inheritance.on_prepared(plan, store.fingerprint)
    plan = change_plan(plan, config, fingerprint=store.fingerprint)
    settings = settle_training(config.training, plan)
    plan = with_mirrors(plan, settings)
    config = config.replaced(training=settings)
    train_ids, held_out = split(store, config.fold)
    seen = None
    if parent is not None:
        seen = announce_parent(parent, store, held_out, progress)
    return RunSetup(
        config=config,
        out=out,
        store=store,
        plan=plan,
        train_ids=train_ids,
        held_out=held_out,
        device=device,
        processes=processes,
        progress=progress,
        spent=spent,
        parent=parent,
        num_seen_before=seen,
    )


def write_setup(run: RunSetup) -> None:
    """Writes ``config.yaml``, ``plan.yaml`` and ``parent.yaml``; one process does.

    Raises:
        OutputError: The folder cannot be written.
    """
    if run.processes.is_main:
        config = with_whole_paths(run.config)
        write_text(run.out / "config.yaml", dump_config(config))
        write_plan(run.out / "plan.yaml", run.plan)
        if run.parent is not None:
            write_parent(run.out, run.parent)
        for place, text in write_plugins(run.out, run.config, run.plan).items():
            run.progress.say(f"{place}: {text}")


def _open_together(
    config: RunConfig,
    out: Path,
    device: torch.device,
    processes: ProcessGroup,
    progress: Progress,
) -> Store:
    """The store; the first process prepares it while the others wait."""
    folder = ""
    if processes.is_main:
        store = open_data(config, out, device=device, progress=progress)
        folder = str(store.folder)
    folder = processes.gather(folder)[0]
    return store if processes.is_main else Store.open(Path(folder))
