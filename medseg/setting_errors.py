"""What is wrong with settings, in words: each wrong key by its path, and what to write.

Pydantic lists one error for each alternative of a union, with the alternative's name in
the path; here a key is named once, as the user wrote it.
"""

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

_WORDS = {
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": "must be a text",
    "path_type": "must be a path",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "dict_type": "must hold keys of its own",
    "model_type": "must hold keys of its own",
    "model_attributes_type": "must hold keys of its own",
    "too_short": "must have {min_length} entries or more",
    "too_long": "must have {max_length} entries or fewer",
    "literal_error": "must be {expected}",
    "union_tag_invalid": "must be {expected_tags}",
    "union_tag_not_found": "must say which by its key 'name'",
    "missing": "must be given",
}

_SAY_ALL = {"extra_forbidden", "missing", "union_tag_not_found", "value_error"}
"""Errors to which what was found adds nothing, or something secret."""


def describe(error: ValidationError, kind: type[BaseModel]) -> str:
    """One line naming every wrong key by its path, with what was found."""
    groups: dict[str, list[str]] = {}
    found: dict[str, str] = {}
    for item in error.errors():
        path, holders = _locate(kind, item["loc"])
        name = ".".join(path) or "(top level)"
        said = groups.setdefault(name, [])
        text = _in_words(item, path, holders, kind)
        if text not in said:
            said.append(text)
        if item["type"] not in _SAY_ALL and not isinstance(_input(item), dict):
            found[name] = f", found {_input(item)!r:.80}"
    return "; ".join(
        f"{name}: {' or '.join(said)}{found.get(name, '')}"
        for name, said in groups.items()
    )


def nearest_name(name: str, known: Iterable[str]) -> str:
    """``" (nearest: tumor)"`` for ``tumour``; empty where no known name is like it."""
    found = get_close_matches(name, list(known), n=1)
    return f" (nearest: {found[0]})" if found else ""


def _in_words(
    item: ErrorDetails, path: list[str], holders: list[Any], top: type[BaseModel]
) -> str:
    kind, context = item["type"], item.get("ctx", {})
    if kind == "extra_forbidden":
        known = sorted(_fields(holders))
        near = _elsewhere(top, path[-1]) or nearest_name(path[-1], known)
        return f"unknown key{near}; known keys: {', '.join(known)}"
    if kind == "value_error":
        return str(context.get("error", item["msg"]))
    if kind not in _WORDS:
        return item["msg"]
    text = _WORDS[kind].format_map(context)
    if kind in {"literal_error", "union_tag_invalid"}:
        text += nearest_name(str(_input(item)), _quoted(text))
    return text


def _elsewhere(top: type[BaseModel], key: str) -> str:
    """Where else a key of this name belongs, such as `` (it is training.budget)``."""
    found = list(dict.fromkeys(_paths_of(top, key)))
    return f" (it is {' or '.join(found[:3])})" if found else ""


def _paths_of(top: type[BaseModel], key: str) -> Iterator[str]:
    """Paths of all fields of a name, those on the upper levels first."""
    level: list[tuple[str, type[BaseModel]]] = [("", top)]
    while level:
        below: list[tuple[str, type[BaseModel]]] = []
        for path, model in level:
            for name, info in model.model_fields.items():
                if name == key:
                    yield path + name
                kinds = _alternatives(info.annotation)
                below += [(f"{path}{name}.", kind) for kind in kinds if _is_model(kind)]
        level = below


def _input(item: ErrorDetails) -> object:
    """What was written; of a union's block its ``name``."""
    if item["type"] == "union_tag_invalid":
        return item.get("ctx", {}).get("tag")
    return item.get("input")


def _quoted(text: str) -> list[str]:
    return text.split("'")[1::2]


def _locate(
    kind: type[BaseModel], location: tuple[int | str, ...]
) -> tuple[list[str], list[Any]]:
    """The keys of a location without names of alternatives, and what the last is in."""
    path: list[str] = []
    options: list[Any] = [kind]
    holders: list[Any] = options
    for part in location:
        inside = list(_inside(options, part))
        tagged = [option for option in options if _has_tag(option, part)]
        if inside:
            path.append(str(part))
            holders, options = options, inside
        elif tagged:
            options = tagged
        elif any(_is_model(option) for option in options):
            path.append(str(part))
            holders, options = options, []
    return path, holders


def _inside(options: Iterable[Any], part: int | str) -> Iterator[Any]:
    """Types that a key or position may have."""
    for option in options:
        arguments = get_args(option)
        if _is_model(option):
            if part in option.model_fields:
                yield from _alternatives(option.model_fields[part].annotation)
        elif get_origin(option) is dict or get_origin(option) is Mapping:
            yield from _alternatives(arguments[1])
        elif get_origin(option) in (tuple, list) and isinstance(part, int):
            same = get_origin(option) is list or Ellipsis in arguments
            yield from _alternatives(arguments[0 if same else part])


def _alternatives(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) is Annotated:
        yield from _alternatives(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, UnionType):
        for argument in get_args(annotation):
            yield from _alternatives(argument)
    else:
        yield annotation


def _has_tag(option: Any, part: int | str) -> bool:
    """Whether an alternative is the one called so by its ``name`` or ``tag``."""
    if not _is_model(option) or "name" not in option.model_fields:
        return False
    if getattr(option, "tag", None) == part:
        return True
    annotation = option.model_fields["name"].annotation
    return get_origin(annotation) is Literal and part in get_args(annotation)


def _fields(options: Iterable[Any]) -> set[str]:
    return {f for option in options if _is_model(option) for f in option.model_fields}


def _is_model(option: Any) -> bool:
    return isinstance(option, type) and issubclass(option, BaseModel)
