"""The base of all settings, and how YAML becomes settings."""

from pathlib import Path
from typing import Any, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from medseg.errors import MissingFileError, SettingsError
from medseg.setting_errors import describe


class Settings(BaseModel):
    """Frozen settings that refuse unknown keys, so that a typo is named.

    Numbers are finite: NaN passes every comparison and would be found out much later.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        allow_inf_nan=False,
    )

    def replaced(self, **changes: Any) -> Self:
        """A copy with some fields replaced, checked as if it had been written so.

        Raises:
            SettingsError: A name is unknown, or the values do not go together.
        """
        given = {name: getattr(self, name) for name in self.model_fields_set}
        return parse_settings(type(self), {**given, **changes})


class Record(Settings):
    """Base of measured results, which unlike settings may be NaN or infinite."""

    model_config = ConfigDict(allow_inf_nan=True)


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


class _RepeatedKeyError(ValueError):
    """A YAML mapping holds a key twice."""


class _OneOfEachKey(yaml.SafeLoader):
    """Refuses a key that a mapping holds twice; YAML's own rule, which PyYAML skips."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """The node of a mapping.

        Raises:
            _RepeatedKeyError: A key occurs twice; both lines are named.
        """
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            line, name = key.start_mark.line + 1, (key.tag, str(key.value))
            if name in lines:
                raise _RepeatedKeyError(
                    f"key {key.value!r} stands twice, at lines {lines[name]} and "
                    f"{line}; join the two or delete one"
                )
            lines[name] = line
        return node


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
    except IsADirectoryError as error:
        raise SettingsError(
            f"{path}: is a folder, a YAML file is expected; a data set is named by "
            "--data"
        ) from error
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: not a text file") from error
    try:
        return yaml.load(text, Loader=_OneOfEachKey)
    except _RepeatedKeyError as error:
        raise SettingsError(f"{path}: {error}") from error
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
            child = node.get(parent)
            if child is None:
                child = {}
            if not isinstance(child, dict):
                raise SettingsError(f"--set {text}: {parent} is not a mapping")
            node[parent] = dict(child)
            node = node[parent]
        try:
            node[key] = yaml.load(value, Loader=_OneOfEachKey)
        except _RepeatedKeyError as error:
            raise SettingsError(f"--set {text}: {error}") from error
        except yaml.YAMLError as error:
            raise SettingsError(f"--set {text}: not valid YAML") from error
    return result
