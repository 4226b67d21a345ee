"""A bundle's configuration read as data: references are followed, nothing is run.

MONAI evaluates every text that begins with ``$`` as Python and builds every object that
``_target_`` names. Here a reference (``@key::part``) is looked up, a few forms of
expression that say a plain value are read as that value, and any other expression is
refused by name where its value would matter.

References:
    The MONAI bundle configuration, docs.monai.io, "Bundle Configuration".
"""

import ast
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from medseg.errors import ModelError
from medseg.settings import read_yaml

TARGET = "_target_"
_COMMENT = "_desc_"
_REFERENCE = re.compile(r"@(\w+(?:(?:::|#)\w+)*)")
_DTYPE = re.compile(r"\$(?:torch|np|numpy)\.(float16|float32|float64|u?int\d+|bool)_?")
_MADE_READY = re.compile(
    r"\$@(\w+(?:(?:::|#)\w+)*)(?:\.to\([^()]*\)|\.eval\(\)|\.float\(\)|\.cuda\(\))+"
)
_PIECE = r"(?:@\w+(?:(?:::|#)\w+)*|'[^'\\]*'|\"[^\"\\]*\")"
_JOINED = re.compile(rf"\$\s*{_PIECE}(?:\s*\+\s*{_PIECE})+\s*")
_MOST_DEPTH = 64
_MOST_BYTES = 16 << 20


@dataclass(frozen=True)
class BundleConfig:
    """The values of a configuration file.

    Attributes:
        values: As the file holds them, overrides applied.
        source: What messages call the file.
    """

    values: Mapping[str, Any]
    source: str

    def get(self, place: str) -> Any:
        """The value at a place such as ``preprocessing::transforms::0``, as written.

        Raises:
            ModelError: There is none.
        """
        node: Any = self.values
        for part in re.split("::|#", place):
            if isinstance(node, Mapping) and part in node:
                node = node[part]
            elif (
                isinstance(node, Sequence)
                and not isinstance(node, str)
                and (part.isdecimal() and int(part) < len(node))
            ):
                node = node[int(part)]
            else:
                raise ModelError(f"{self.source}: @{place} names nothing in the file")
        return node

    def followed(self, value: Any, place: str, depth: int = 0) -> tuple[Any, str]:
        """What a value stands for once references are followed, and its place.

        ``$@network_def.to(@device)`` stands for what it puts on a device.

        Raises:
            ModelError: A reference leads nowhere, or round in a circle.
        """
        if not isinstance(value, str):
            return value, place
        found = _REFERENCE.fullmatch(value.removeprefix("$").strip())
        found = found or _MADE_READY.fullmatch(value.strip())
        if found is None:
            return value, place
        if depth > _MOST_DEPTH:
            raise ModelError(f"{self.source}: {place}: {value!r:.80} leads in a circle")
        target = found[1].replace("#", "::")
        return self.followed(self.get(target), target, depth + 1)

    def plain(self, value: Any, place: str, depth: int = 0) -> Any:
        """A value without references and expressions.

        Raises:
            ModelError: It needs something to be run, which is refused.
        """
        value, place = self.followed(value, place)
        if depth > _MOST_DEPTH:
            raise ModelError(f"{self.source}: {place}: nested too deeply, or a circle")
        if isinstance(value, str):
            return self._text(value, place, depth)
        if isinstance(value, Mapping):
            if TARGET in value:
                raise self.refused(place, f"the object {value[TARGET]!r:.80}")
            return {
                key: self.plain(part, f"{place}::{key}", depth + 1)
                for key, part in value.items()
            }
        if isinstance(value, list):
            return [
                self.plain(part, f"{place}::{number}", depth + 1)
                for number, part in enumerate(value)
            ]
        return value

    def _text(self, value: str, place: str, depth: int) -> Any:
        """A text as it is, or the plain value that an expression says.

        Raises:
            ModelError: It is an expression of another kind, or a macro.
        """
        if value.startswith("%"):
            raise self.refused(place, f"the macro {value!r:.80}")
        if not value.startswith("$"):
            return value
        if found := _DTYPE.fullmatch(value.strip()):
            return found[1]
        if _JOINED.fullmatch(value):
            parts = re.findall(_PIECE, value)
            pieces = [self._piece(part, place, depth) for part in parts]
            return "".join(pieces)
        try:
            return _as_json(ast.literal_eval(value[1:].strip()))
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            pass
        raise self.refused(place, f"the expression {value!r:.120}")

    def _piece(self, part: str, place: str, depth: int) -> str:
        if part.startswith("@"):
            part = self.plain(part, place, depth + 1)
            if not isinstance(part, str):
                raise self.refused(place, f"joining {part!r:.40} to a text")
            return part
        return part[1:-1]

    def component(self, value: Any, place: str) -> tuple[str, Mapping[str, Any], str]:
        """An object to be built: its class, its arguments as written, and its place.

        Raises:
            ModelError: It is none, or says how it is to be built.
        """
        value, place = self.followed(value, place)
        if isinstance(value, str) and value.startswith("$"):
            raise self.refused(place, f"the expression {value!r:.120}")
        if not isinstance(value, Mapping) or not isinstance(value.get(TARGET), str):
            raise ModelError(
                f"{self.source}: {place}: expected an object with {TARGET}, found "
                f"{value!r:.80}"
            )
        arguments = {key: part for key, part in value.items() if key != TARGET}
        for key in list(arguments):
            if key == _COMMENT:
                del arguments[key]
            elif key.startswith("_"):
                raise self.refused(f"{place}::{key}", f"the key {key!r:.40}")
        return value[TARGET], arguments, place

    def items(self, value: Any, place: str) -> list[tuple[Any, str]]:
        """The entries of a list with their places, also of lists that are added.

        Raises:
            ModelError: It is no list.
        """
        value, place = self.followed(value, place)
        if isinstance(value, str) and _JOINED.fullmatch(value) and "'" not in value:
            parts = re.findall(_PIECE, value)
            return [item for part in parts for item in self.items(part, place)]
        if isinstance(value, str) and value.startswith("$"):
            raise self.refused(place, f"the expression {value!r:.120}")
        if not isinstance(value, list):
            raise ModelError(
                f"{self.source}: {place}: expected a list, found {value!r:.80}"
            )
        return [(part, f"{place}::{number}") for number, part in enumerate(value)]

    def refused(self, place: str, what: str) -> ModelError:
        """The refusal of something that MONAI would run."""
        return ModelError(
            f"{self.source}: {place} is {what}, which MONAI would run; refused, "
            f"nothing was executed. If you know its value, give it: --set "
            f"{place}=VALUE"
        )


def read_config(
    path: Path, *, overrides: Sequence[str] = (), name: str
) -> BundleConfig:
    """The configuration in a JSON or YAML file.

    Args:
        path: The file.
        overrides: Texts ``place=value``, the value in YAML; a step of a list of
            transforms that becomes ``null`` is left out.
        name: What messages call it.

    Raises:
        ModelError: It cannot be read, or is no mapping.
        SettingsError: An override cannot be applied.
    """
    if path.stat().st_size > _MOST_BYTES:
        raise ModelError(f"{name}: larger than any configuration")
    try:
        if path.suffix == ".json":
            values = json.loads(path.read_text(encoding="utf-8"))
        else:
            values = read_yaml(path)
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{name}: cannot be read: {error!s:.300}") from error
    if not isinstance(values, dict):
        raise ModelError(f"{name}: holds a {type(values).__name__}, expected a mapping")
    config = BundleConfig(values, name)
    for text in overrides:
        _override(config, text)
    return config


def _override(config: BundleConfig, text: str) -> None:
    """Puts a value where the file holds another one.

    Raises:
        ModelError: The text is not of the form place=value, or there is no such place.
    """
    place, equals, written = text.partition("=")
    if not equals or not place:
        raise ModelError(f"--set {text}: expected place=value")
    try:
        value = yaml.safe_load(written)
    except yaml.YAMLError as error:
        raise ModelError(f"--set {text}: the value is not YAML: {error}") from error
    *parents, key = re.split("::|#", place)
    node = config.get("::".join(parents)) if parents else config.values
    if isinstance(node, dict):
        node[key] = value
    elif isinstance(node, list) and key.isdecimal() and int(key) < len(node):
        node[int(key)] = value
    else:
        raise ModelError(f"--set {text}: there is no such place in {config.source}")


def _as_json(value: Any) -> Any:
    """Tuples as lists, and nothing but what JSON knows.

    Raises:
        ValueError: It holds something else.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tuple | list):
        return [_as_json(part) for part in value]
    if isinstance(value, dict):
        return {str(key): _as_json(part) for key, part in value.items()}
    raise ValueError(f"a {type(value).__name__}")
