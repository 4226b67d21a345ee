"""The base of all settings, and how YAML becomes settings."""

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from medseg.errors import MissingFileError, SettingsError


class Settings(BaseModel):
    """Frozen settings that refuse unknown keys, so that a typo is named."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True
    )


SettingsT = TypeVar("SettingsT", bound=Settings)


def parse_settings(
    kind: type[SettingsT], values: Any, *, source: str = "settings"
) -> SettingsT:
    """Settings of the given kind, built from plain values.

    Args:
        kind: The class of the settings.
        values: What YAML or JSON held, usually a dictionary.
        source: Where the values come from, for the error message.

    Raises:
        SettingsError: A key is unknown or a value is wrong; each is named by path.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise SettingsError(f"{source}: {describe(error, kind)}") from error


def describe(error: ValidationError, kind: type[BaseModel]) -> str:
    """One line naming every wrong key by its path, with what was found."""
    parts = []
    for item in error.errors():
        path = ".".join(str(part) for part in item["loc"]) or "(top level)"
        if item["type"] == "extra_forbidden":
            known = _known_keys(kind, item["loc"][:-1])
            hint = f"; known keys: {', '.join(known)}" if known else ""
            parts.append(f"{path}: unknown key{hint}")
        else:
            parts.append(f"{path}: {item['msg']}, found {item.get('input')!r:.80}")
    return "; ".join(parts)


def _known_keys(kind: Any, path: tuple[int | str, ...]) -> list[str]:
    """Field names of the settings class found at a path below `kind`."""
    for part in path:
        fields = getattr(kind, "model_fields", {})
        if part not in fields:
            return []
        kind = fields[part].annotation
    return sorted(getattr(kind, "model_fields", {}))


def read_yaml(path: Path) -> Any:
    """Plain values held by a YAML file.

    Raises:
        MissingFileError: There is no such file.
        SettingsError: The file is not YAML.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise MissingFileError(f"{path}: no such file") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: not a text file") from error
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" at line {where.line + 1}" if where is not None else ""
        raise SettingsError(f"{path}: not valid YAML{line}: {error}") from error


def load_settings(kind: type[SettingsT], path: Path) -> SettingsT:
    """Settings of the given kind, read from a YAML file.

    Raises:
        MissingFileError: There is no such file.
        SettingsError: The file is not YAML, a key is unknown or a value is wrong.
    """
    return parse_settings(kind, read_yaml(path) or {}, source=str(path))


def apply_overrides(values: dict[str, Any], overrides: list[str]) -> dict[str, Any]:
    """A copy of nested values with ``path.to.key=value`` overrides applied.

    Args:
        values: What the YAML file held.
        overrides: Texts as given to ``--set``; the value is read as YAML.

    Raises:
        SettingsError: An override is not of the form key=value, or its path runs
            through something that is not a mapping.
    """
    result = dict(values)
    for text in overrides:
        path, equals, value = text.partition("=")
        if not equals or not path:
            raise SettingsError(f"--set {text}: expected key=value")
        *parents, key = path.split(".")
        node = result
        for parent in parents:
            child = node.get(parent, {})
            if not isinstance(child, dict):
                raise SettingsError(f"--set {text}: {parent} is not a mapping")
            node[parent] = dict(child)
            node = node[parent]
        try:
            node[key] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise SettingsError(f"--set {text}: not valid YAML") from error
    return result
