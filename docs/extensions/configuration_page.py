"""The configuration reference, made of the settings and their docstrings."""

import types
from collections.abc import Iterator
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from medseg.datasets.description import Description
from medseg.runs.config import RunConfig
from medseg.serving.pacs.settings import PacsSettings
from medseg.settings import Settings
from medseg.studies.study import StudySettings

ROOTS: dict[str, tuple[str, type[Settings]]] = {
    "A run": ("`medseg train CONFIG`", RunConfig),
    "A study": ("`medseg compare STUDY`", StudySettings),
    "A data set": ("`dataset.yaml` beside the data", Description),
    "A DICOM node": ("the options of `medseg pacs`, and its `--set`", PacsSettings),
}
"""What is written as YAML, and the settings that it becomes."""

INTRODUCTION = """\
# Configuration reference

Made of the settings themselves when this page is built. YAML keys are the names below;
nested settings are nested mappings; every key may be left out unless it is *required*,
and an unknown key is refused by name. `--set training.loss.gamma=3` replaces a single
value, and a run writes all of them into its `config.yaml`."""


def configuration_page() -> str:
    """Every setting of every kind of YAML file, as Markdown."""
    parts, seen = [INTRODUCTION], set[type[BaseModel]]()
    for title, (where, root) in ROOTS.items():
        parts += [f"## {title}", f"Read from: {where}."]
        for model in reachable(root):
            if model not in seen:
                seen.add(model)
                parts.append(_section(model))
    return "\n\n".join(parts) + "\n"


def reachable(root: type[BaseModel]) -> list[type[BaseModel]]:
    """The settings and all settings inside them, each once, outer ones first."""
    found: dict[type[BaseModel], None] = {}
    waiting = [root]
    while waiting:
        model = waiting.pop(0)
        if model not in found:
            found[model] = None
            for field in model.model_fields.values():
                waiting += list(_models(field.annotation))
    return list(found)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) is not Literal:
        for part in get_args(annotation):
            yield from _models(part)


def _section(model: type[BaseModel]) -> str:
    rows = [_row(name, field) for name, field in model.model_fields.items()]
    table = ["| key | value | default | |", "|---|---|---|---|", *rows]
    about = " ".join((model.__doc__ or "").split("\n\n")[0].split())
    return "\n\n".join([f"### {model.__name__}", about, "\n".join(table)])


def _row(name: str, field: FieldInfo) -> str:
    about = " ".join((field.description or "").split())
    limits = _limits(field.metadata)
    value = _words(field.annotation) + (f", {limits}" if limits else "")
    cells = [f"`{name}`", value, _default(field), about]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "*required*"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return f"{_link(type(value))}'s"
    plain = yaml.safe_dump(_plain(value), default_flow_style=True, width=1000)
    return f"`{plain.removesuffix('...' + chr(10)).strip()}`"


def _plain(value: Any) -> Any:
    """The value as YAML writes it."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return (
        value if value is None or isinstance(value, bool | int | float) else str(value)
    )


def _link(model: type[BaseModel]) -> str:
    return f"[{model.__name__}](#{model.__name__.lower()})"


def _words(annotation: Any) -> str:
    """A type in words, with settings as links."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _link(annotation)
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        limits = _limits(parts[1:])
        return _words(parts[0]) + (f" ({limits})" if limits else "")
    if origin is Literal:
        return ", ".join(f"`{part}`" for part in parts)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_words(part) for part in parts))
    if origin in (tuple, list):
        inner = [_words(part) for part in parts if part is not Ellipsis]
        same = len(set(inner)) == 1
        several = (
            "list of" if Ellipsis in parts or origin is list else f"{len(inner)} times"
        )
        return f"{several} {inner[0]}" if same else "[" + ", ".join(inner) + "]"
    if origin is dict:
        return f"mapping from {_words(parts[0])} to {_words(parts[1])}"
    return _NAMES.get(annotation, str(getattr(annotation, "__name__", annotation)))


_NAMES: dict[Any, str] = {
    types.NoneType: "null",
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
}

_SIGNS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}


def _limits(metadata: Any) -> str:
    """The bounds of a number in signs, such as ``≥ 0, < 1``."""
    bounds = []
    for item in metadata:
        inner = getattr(item, "metadata", None)  # pydantic's Field inside Annotated
        if inner:
            bounds.append(_limits(inner))
        bounds += [
            f"{sign} {getattr(item, name)}"
            for name, sign in _SIGNS.items()
            if getattr(item, name, None) is not None
        ]
    return ", ".join(filter(None, bounds))
