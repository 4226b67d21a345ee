"""What stands where a configuration of a run is expected, in words: what to write."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medseg.io import is_scan
from medseg.model import DESCRIPTION
from medseg.store.store import SUMMARY

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
