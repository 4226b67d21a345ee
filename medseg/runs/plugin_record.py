"""What a run keeps of its plug-ins: names, versions and hashes, not their code."""

from pathlib import Path

import yaml

from medseg.files import write_text
from medseg.networks.settings import PluginNetworkSettings
from medseg.plan import Plan
from medseg.plugins import (
    Kind,
    PluginSource,
    allow_named,
    find,
    names_in,
    portable_name,
    use,
)
from medseg.runs.config import RunConfig

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
