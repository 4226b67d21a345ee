"""Parts of a run by name: found where an installed package, a file or a call has them.

Where a configuration takes a name it takes one of medseg's own, one that an installed
package registers as an entry point of ``medseg.networks``, ``medseg.losses`` and so on,
``package.module:Name``, or ``my_file.py:Name``. A Python call gives the object itself,
which then goes by ``python:Name`` for as long as the process lives.

Finding a name runs its code, so nothing is found that the user did not ask for: names
in the user's own configuration, what `allow` was told (``--plugin``), entry points of
installed packages, and network classes of MONAI. Names that a model folder or a
prepared store holds are data, and are refused otherwise.
"""

import copy
import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import AfterValidator

from medseg.errors import MedsegError, PluginError
from medseg.files import hash_file
from medseg.setting_errors import nearest_name
from medseg.settings import Record, Settings

Kind = Literal[
    "networks",
    "losses",
    "samplers",
    "transforms",
    "optimizers",
    "schedules",
    "metrics",
    "trackers",
    "readers",
    "layouts",
]
"""What a plug-in is; ``medseg.`` before it is the group of its entry points."""

FORM = "package.module:Name"
"""What a plug-in's name looks like, for messages."""

GIVEN = "python"
"""Stands for the module of objects that a Python call was given."""

_PATH = re.compile(r"(?P<place>.+):(?P<name>[A-Za-z_]\w*)")
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_PACKAGE = re.compile(r"[A-Za-z0-9][\w.-]{0,80}")
_VERSION = re.compile(r"\d[\w.+!-]{0,40}")
_MONAI_NETWORKS = "monai.networks.nets"


class PluginSource(Record):
    """Where the code of a plug-in came from."""

    package: str = ""
    """Installed package that holds it; empty for a file or an object of a call."""
    version: str = ""
    """Version of that package."""
    file: str = ""
    """Name of its source file, without the folders."""
    sha256: str = ""
    """Hash of the source file."""

    @property
    def requirement(self) -> str:
        """The package as pip takes it; empty where none is known, or it is no name."""
        if not _PACKAGE.fullmatch(self.package):
            return ""
        exact = _VERSION.fullmatch(self.version)
        return f"{self.package}=={self.version}" if exact else self.package

    def describe(self) -> str:
        """The source in words."""
        where = f"{self.package} {self.version}".strip() or self.file or "a Python call"
        return f"{where} (SHA-256 {self.sha256[:12]})" if self.sha256 else where


def _checked(name: str) -> str:
    if is_path(name) or name in _registered_names():
        return name
    raise ValueError(
        f"{FORM}, my_file.py:Name, or a name that an installed package registers"
    )


PluginName = Annotated[str, AfterValidator(_checked)]
"""The name of a plug-in; whether it is there is found out when it is built."""


class PluginSettings(Settings):
    """A plug-in and what it is built with."""

    tag: ClassVar[str] = FORM
    """What stands for it among the alternatives of a union."""
    name: PluginName
    """``package.module:Name``, ``my_file.py:Name`` or a registered name."""
    args: dict[str, Any] = {}
    """Keyword arguments that it is built with."""


def is_path(name: object) -> bool:
    """Whether a value has the form ``package.module:Name`` or ``my_file.py:Name``."""
    if not isinstance(name, str) or (found := _PATH.fullmatch(name)) is None:
        return False
    place = found["place"]
    return place.endswith(".py") or _MODULE.fullmatch(place) is not None


def tagger(*own: str) -> Callable[[Any], str | None]:
    """What tells the alternatives of a union apart: their name, or that of a plug-in.

    Args:
        own: Names of medseg's own alternatives, for which no package is looked at.
    """

    def tag_of(value: Any) -> str | None:
        if isinstance(value, PluginSettings):
            return FORM
        name = value.get("name") if isinstance(value, Mapping) else None
        name = getattr(value, "name", name)
        if not isinstance(name, str) or name in own:
            return name if isinstance(name, str) else None
        if isinstance(value, Mapping) and value.get("source"):
            return FORM  # written down when it was there; perhaps it is no longer
        return FORM if is_path(name) or name in _registered_names() else name

    return tag_of


def anchored(values: Any, folder: Path) -> Any:
    """A configuration's values with files of plug-ins as absolute paths.

    Args:
        values: What YAML held.
        folder: Of the configuration, which relative paths start from.
    """
    if isinstance(values, Mapping):
        return {key: anchored(value, folder) for key, value in values.items()}
    if isinstance(values, list):
        return [anchored(value, folder) for value in values]
    if is_path(values) and _split(values)[0].endswith(".py"):
        place, name = _split(values)
        return f"{(folder / place).resolve()}:{name}"
    return values


def names_in(settings: Any) -> Iterator[tuple[str, str]]:
    """Every plug-in that settings name, as its path within them and its name."""
    if isinstance(settings, Settings):
        for key in type(settings).model_fields:
            value = getattr(settings, key)
            if key in {"name", "strategy"} and isinstance(value, str):
                if is_path(value) or value in _registered_names():
                    yield key, value
                continue
            for path, name in names_in(value):
                yield f"{key}.{path}", name
    elif isinstance(settings, tuple | list):
        for number, value in enumerate(settings):
            for path, name in names_in(value):
                yield f"{number}.{path}", name
    elif is_path(settings):
        yield "name", settings


# What the user allowed -------------------------------------------------------------


_allowed: set[str] = set()
"""Modules and files whose objects may be found, by `allow`."""
_files: dict[str, list[Path]] = {}
"""Files that were allowed, by their name without folders; the latest first."""
_given: dict[str, Any] = {}
"""Objects of Python calls by their names."""
_modules: dict[tuple[Path, str], ModuleType] = {}
"""Files that were run, by path and hash."""


def allow(*places: str | Path) -> None:
    """Lets names be found in modules and files from now on: the user's own word.

    Models whose network is a plug-in load where this was said; ``--plugin`` says it.

    Args:
        places: ``my_file.py``, ``package``, or with a ``:Name`` behind.

    Raises:
        PluginError: A file is not there.
    """
    for text in map(str, places):
        place = _split(text)[0] if is_path(text) else text
        if not place.endswith(".py"):
            _allowed.add(place)
            continue
        path = Path(place).resolve()
        if not path.is_file():
            raise PluginError(f"plug-in {text}: no such file: {path}")
        known = _files.setdefault(path.name, [])
        if path in known:
            known.remove(path)
        known.insert(0, path)


def allow_named(settings: Any) -> None:
    """Allows every plug-in that the user's own settings name.

    Raises:
        PluginError: A file is not there.
    """
    for _, name in names_in(settings):
        if is_path(name) and _split(name)[0] != GIVEN:
            allow(name)


def is_importable(item: Any) -> bool:
    """Whether a class or function can be found again by any process, by its name."""
    if not isinstance(item, type) and not inspect.isfunction(item):
        return False
    module = sys.modules.get(item.__module__)
    is_top: bool = "." not in item.__qualname__ and item.__module__ != "__main__"
    is_there: bool = getattr(module, item.__qualname__, None) is item
    file = getattr(module, "__file__", None)
    return is_top and is_there and file is not None and not _is_run_file(item)


def _is_run_file(item: Any) -> bool:
    return str(item.__module__).startswith("medseg_plugin_")


def give(item: Any, name: str | None = None) -> str:
    """The name that stands for an object of a Python call from now on.

    Args:
        item: A class, function or finished object.
        name: Other than the object's own.
    """
    own = name or getattr(item, "__name__", None) or type(item).__name__
    own = re.sub(r"\W", "_", own)
    _given[own] = item
    return f"{GIVEN}:{own}"


_used: dict[str, list[str]] = {}
"""Readers and layouts that are looked at beside medseg's own, by kind."""


def block_of(part: Any) -> dict[str, Any]:
    """What stands for a part in a configuration.

    Objects go by ``package.module:Name`` where their module can be imported, which
    lets others load a model that names them; else by a name for this process.
    """
    if isinstance(part, Mapping):
        block = dict(part)
        name = block.get("name")
        return block if isinstance(name, str) else {**block, "name": name_of(name)}
    return {"name": name_of(part)}


def name_of(part: Any) -> str:
    """The name that stands for a part: itself where it is one."""
    if isinstance(part, str):
        return part
    module = getattr(part, "__module__", "")
    own = getattr(part, "__qualname__", "")
    if is_importable(part):
        allow(module)
        return f"{module}:{own}"
    return give(part)


@dataclass(frozen=True)
class Allowance:
    """What the user said in one process, for another that works for it."""

    modules: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    used: tuple[tuple[str, str], ...] = ()
    """Kind and name of readers and layouts."""


NOTHING_ALLOWED = Allowance()


def allowance() -> Allowance:
    """What was allowed and is used here; objects of Python calls stay behind."""
    files = tuple(path for known in _files.values() for path in reversed(known))
    used = tuple((kind, name) for kind, names in _used.items() for name in names)
    passed = tuple(one for one in used if not one[1].startswith(f"{GIVEN}:"))
    return Allowance(tuple(_allowed), files, passed)


def adopt(given: Allowance) -> None:
    """Takes over what another process was told."""
    _allowed.update(given.modules)
    for path in given.files:
        known = _files.setdefault(path.name, [])
        if path not in known:
            known.insert(0, path)
    for kind, name in given.used:
        known_names = _used.setdefault(kind, [])
        if name not in known_names:
            known_names.append(name)


def use(name: str, *, kind: Kind) -> None:
    """Registers a reader or layout from now on, beside those that packages register.

    Args:
        name: In any of the forms: the user's own word.
        kind: ``readers`` or ``layouts``.

    Raises:
        PluginError: It cannot be found.
    """
    find(name, kind=kind, is_trusted=True)
    known = _used.setdefault(kind, [])
    if name not in known:
        known.append(name)


def names_in_use(kind: Kind) -> tuple[str, ...]:
    """Readers or layouts by name: those that were asked for, then registered ones."""
    return (*_used.get(kind, ()), *_points(kind))


def has_given(kind: Kind) -> bool:
    """Whether objects of Python calls are in use, which other processes lack."""
    return any(name.startswith(f"{GIVEN}:") for name in _used.get(kind, ()))


def take(text: str) -> None:
    """What ``--plugin`` says: allows a file or package, and uses what it reads with.

    Readers and layouts are used where they are named, or lie in a file that is.

    Args:
        text: ``my_file.py``, ``package``, or with a ``:Name`` behind.

    Raises:
        PluginError: It is not there, or running it failed.
    """
    text = str(anchored(text, Path.cwd()))
    allow(text)
    if is_path(text):
        names = [text]
    elif text.endswith(".py"):
        path = Path(text).resolve()
        members = vars(_run_file(path, text))
        own = [key for key, value in members.items() if _is_from(value, path)]
        names = [f"{path}:{key}" for key in own]
    else:
        return
    for name in names:
        item = find(name, kind="readers", is_trusted=True).item
        if all(hasattr(item, key) for key in ("suffixes", "read")):
            use(name, kind="readers")
        if all(hasattr(item, key) for key in ("signs", "matches", "load")):
            use(name, kind="layouts")


def _is_from(item: Any, path: Path) -> bool:
    try:
        return isinstance(item, type) and Path(inspect.getfile(item)) == path
    except (TypeError, OSError):
        return False


# Finding ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Plugin:
    """An object that was found, and where.

    Attributes:
        name: As it was named.
        item: The object.
        source: Where its code came from.
    """

    name: str
    item: Any
    source: PluginSource

    def build(self, *args: Any, **kwargs: Any) -> Any:
        """What the object makes of arguments; a finished object is copied.

        Raises:
            PluginError: It does not take them.
        """
        if not isinstance(self.item, type) and not inspect.isroutine(self.item):
            return copy.deepcopy(self.item)
        try:
            return self.item(*args, **kwargs)
        except MedsegError:
            raise
        except Exception as error:  # whatever its code raises
            text = " ".join(str(error).split())[:300]
            raise PluginError(
                f"plug-in {self.name}: cannot be built with "
                f"{', '.join(sorted(map(str, kwargs))) or 'no arguments'}: "
                f"{type(error).__name__}: {text}; it takes {_signature(self.item)}"
            ) from error

    def function(self, **kwargs: Any) -> Any:
        """What is called later: a function with arguments set, or an object built."""
        if inspect.isroutine(self.item):
            return partial(self.item, **kwargs)
        return self.build(**kwargs)

    def made(self, **kwargs: Any) -> Any:
        """As `build`, but a finished object is the object itself, not a copy."""
        is_finished = not isinstance(self.item, type) and not inspect.isroutine(
            self.item
        )
        return self.item if is_finished else self.build(**kwargs)

    def takes(self, parameter: str) -> bool:
        """Whether it is built with a keyword argument of that name."""
        known = parameters_of(self.item)
        return parameter in known


def parameters_of(item: Any) -> dict[str, inspect.Parameter]:
    """Named parameters that something is called with; none where that is unknown."""
    try:
        return dict(inspect.signature(item).parameters)
    except (TypeError, ValueError):
        return {}


def find(
    name: str,
    *,
    kind: Kind,
    source: PluginSource | None = None,
    is_trusted: bool = False,
) -> Plugin:
    """The object that a name stands for.

    Args:
        name: In any of the forms.
        kind: What is looked for, for entry points and messages.
        source: Where it came from when its name was written down, to choose among
            files of one name.
        is_trusted: The name is the user's own word, as in a configuration.

    Raises:
        PluginError: Nothing is called so, importing it failed, or nobody allowed it.
    """
    if not is_path(name):
        return _registered(name, kind)
    place, own = _split(name)
    if is_trusted and place != GIVEN:
        allow(name)
    if place == GIVEN:
        return _given_item(name, own, kind)
    if place.endswith(".py"):
        return _from_file(name, Path(place), own, kind, source)
    return _from_module(name, place, own, kind, source)


def require_installed(name: str, source: PluginSource | None) -> None:
    """Refuses a name that a package registered which is not installed here.

    Raises:
        PluginError: The package is missing; says how it is installed.
    """
    if source is None or not source.requirement or is_path(name):
        return
    if name not in _registered_names():
        raise PluginError(
            f"plug-in {name}: the package {source.requirement} registered it, and is "
            f"not installed here, or registers it no longer; if you trust it, "
            f"{_pip(source)}"
        )


def _registered(name: str, kind: Kind) -> Plugin:
    points = _points(kind)
    if name not in points:
        raise PluginError(
            f"{kind}: no {_one(kind)} is called {name!r}{nearest_name(name, points)}; "
            f"looked for entry points of the group medseg.{kind} "
            f"({', '.join(sorted(points)) or 'none is installed'}); write {FORM} or "
            "my_file.py:Name for others"
        )
    try:
        item = points[name].load()
    except Exception as error:
        raise PluginError(
            f"plug-in {name} ({points[name].value}): importing it failed: "
            f"{type(error).__name__}: {error}"
        ) from error
    return Plugin(name, item, _source_of(item))


def _given_item(name: str, own: str, kind: Kind) -> Plugin:
    if own not in _given:
        raise PluginError(
            f"plug-in {name}: the {_one(kind)} was an object of a Python call, which "
            f"this process was not given{nearest_name(own, _given)}; give it again, as "
            f"in medseg.plugins.give({own}), or put it into a file and name "
            f"my_file.py:{own}"
        )
    return Plugin(name, _given[own], _source_of(_given[own]))


def _from_file(
    name: str, path: Path, own: str, kind: Kind, source: PluginSource | None
) -> Plugin:
    known = _files.get(path.name, [])
    candidates = [p for p in known if p == path] if path.is_absolute() else list(known)
    if source is not None and source.sha256:  # the very file first, where it is there
        candidates.sort(key=lambda p: not p.is_file() or hash_file(p) != source.sha256)
    if not candidates:
        raise PluginError(
            f"plug-in {name}: the {_one(kind)} needs the file {path.name}"
            f"{_hash_in_words(source)}, and nobody allowed it to be run; if you trust "
            f"it, add --plugin PATH/{path.name}, or call medseg.plugins.allow"
        )
    module = _run_file(candidates[0], name)
    return Plugin(name, _member(module, own, name, kind), _file_source(candidates[0]))


def _from_module(
    name: str, place: str, own: str, kind: Kind, source: PluginSource | None
) -> Plugin:
    parts = place.split(".")
    above = {".".join(parts[: n + 1]) for n in range(len(parts))}
    from_monai = kind == "networks" and _MONAI_NETWORKS in above
    if not _is_installed(parts[0]):
        raise _not_installed(name, parts[0], kind, source, allowed=above & _allowed)
    if not from_monai and not above & _allowed:
        raise PluginError(
            f"plug-in {name}: the {_one(kind)} needs the package {parts[0]}, and "
            "nobody allowed its code to be run; if you trust it, add --plugin "
            f"{parts[0]}, or call medseg.plugins.allow"
        )
    module = _import(place, name)
    item = _member(module, own, name, kind)
    if from_monai and not above & _allowed and not _is_monai_network(item):
        raise PluginError(
            f"plug-in {name}: is no network class of {_MONAI_NETWORKS}; if you trust "
            f"it, add --plugin {place}"
        )
    return Plugin(name, item, _source_of(item))


def _pip(source: PluginSource) -> str:
    return f'pip install "{source.requirement}"'


def _is_installed(module: str) -> bool:
    """Whether a module without dots can be imported; nothing of it is run."""
    try:
        return module in sys.modules or importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _not_installed(
    name: str,
    module: str,
    kind: Kind,
    source: PluginSource | None,
    *,
    allowed: Collection[str],
) -> PluginError:
    """What is said of a package that is not there: which, and how to get it."""
    if source is not None and source.requirement:
        allow = "" if allowed else f" and add --plugin {module}"
        return PluginError(
            f"plug-in {name}: the {_one(kind)} needs the package {source.requirement}, "
            f"which is not installed here; if you trust it, {_pip(source)}{allow}"
        )
    return PluginError(
        f"plug-in {name}: there is no module {module}"
        f"{nearest_name(module, _packages())}; install the package that holds it, or "
        f"name a file: my_file.py:{_split(name)[1]}"
    )


def _is_monai_network(item: Any) -> bool:
    import torch

    return (
        isinstance(item, type)
        and issubclass(item, torch.nn.Module)
        and item.__module__.startswith(f"{_MONAI_NETWORKS}.")
    )


def _import(place: str, name: str) -> ModuleType:
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        missing = error.name or place
        package = missing.split(".")[0]
        near = nearest_name(package, _packages())
        raise PluginError(
            f"plug-in {name}: there is no module {missing}{near}; install the package "
            f"that holds it, or name a file: my_file.py:{_split(name)[1]}"
        ) from error
    except Exception as error:
        raise PluginError(
            f"plug-in {name}: importing {place} failed: {type(error).__name__}: {error}"
        ) from error


def _run_file(path: Path, name: str) -> ModuleType:
    """The module of a file, run once for each content of it."""
    key = (path, hash_file(path))
    if key in _modules:
        return _modules[key]
    module_name = f"medseg_plugin_{path.stem}_{key[1][:8]}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    sys.path.insert(0, str(path.parent))  # for files beside it, as for a script
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[module_name]
        raise PluginError(
            f"plug-in {name}: running {path} failed: {type(error).__name__}: {error}"
        ) from error
    finally:
        sys.path.remove(str(path.parent))
    _modules[key] = module
    return module


def _member(module: ModuleType, own: str, name: str, kind: Kind) -> Any:
    if hasattr(module, own):
        return getattr(module, own)
    known = [key for key in dir(module) if not key.startswith("_")]
    where = getattr(module, "__file__", None) or module.__name__
    raise PluginError(
        f"plug-in {name}: no {_one(kind)} is called {own!r} in {where}"
        f"{nearest_name(own, known)}"
    )


def _split(name: str) -> tuple[str, str]:
    place, _, own = name.rpartition(":")
    return place, own


def _one(kind: Kind) -> str:
    return {"losses": "loss"}.get(kind, kind.removesuffix("s"))


def _signature(item: Any) -> str:
    return ", ".join(parameters_of(item)) or "nothing that it tells"


def _hash_in_words(source: PluginSource | None) -> str:
    if source is None or not source.sha256:
        return ""
    return f" (SHA-256 {source.sha256[:12]}...)"


@cache
def _points(kind: Kind) -> Mapping[str, metadata.EntryPoint]:
    """What installed packages register; asked once, since that takes a while."""
    return {p.name: p for p in metadata.entry_points(group=f"medseg.{kind}")}


def _registered_names() -> frozenset[str]:
    return frozenset(name for kind in get_args(Kind) for name in _points(kind))


@cache
def _packages() -> Mapping[str, list[str]]:
    """Installed packages by the modules that they bring."""
    return metadata.packages_distributions()


# Where code came from --------------------------------------------------------------


def portable_name(name: str) -> str:
    """The name without the folders of a file, which mean nothing elsewhere."""
    if not is_path(name):
        return name
    place, own = _split(name)
    return f"{Path(place).name}:{own}" if place.endswith(".py") else name


def _file_source(path: Path) -> PluginSource:
    return PluginSource(file=path.name, sha256=hash_file(path))


def _source_of(item: Any) -> PluginSource:
    """The package or file that an object's code lies in, as far as it can be told."""
    kind = item if inspect.isroutine(item) or isinstance(item, type) else type(item)
    try:
        path = Path(inspect.getfile(kind))
    except (TypeError, OSError):
        return PluginSource()
    sha256 = hash_file(path) if path.is_file() else ""
    top = kind.__module__.split(".")[0]
    try:
        package, version = top, metadata.version(top)
    except metadata.PackageNotFoundError:  # or it is called otherwise than its module
        package = next(iter(_packages().get(top, [])), "")
        version = metadata.version(package) if package else ""
    return PluginSource(package=package, version=version, file=path.name, sha256=sha256)
