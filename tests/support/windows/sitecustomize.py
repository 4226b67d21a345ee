"""Shows medseg, and nothing else, the standard library as Windows has it.

With this folder on PYTHONPATH every Python process begins with it, those that medseg
starts included. Modules and names that Windows lacks are those that typeshed, which
mypy brings, says to be absent there.
"""

import ast
import builtins
import importlib.util
import os
import sys
import types
from pathlib import Path
from typing import Any

ABSENT = {"crypt", "fcntl", "grp", "nis", "posix", "pty", "pwd", "readline"} | {
    "resource",
    "spwd",
    "syslog",
    "termios",
    "tty",
    "triton",
}


class Masked(types.ModuleType):
    """A module without some of its names, and with others of Windows."""

    def __init__(self, module: types.ModuleType, lacks: set[str], has: dict[str, Any]):
        vars(self).update(_module=module, _lacks=lacks, _has=has)

    def __getattr__(self, name: str) -> Any:
        if name in self._has:
            return self._has[name]
        if name in self._lacks:
            raise AttributeError(f"Windows has no {self._module.__name__}.{name}")
        return getattr(self._module, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._module, name, value)

    def __dir__(self) -> list[str]:
        return [name for name in dir(self._module) if name not in self._lacks]


def absent_names(module: str) -> set[str]:
    """Names of a module that typeshed gives to other systems than Windows alone."""
    mypy = importlib.util.find_spec("mypy")
    stubs = Path(mypy.origin).parent / "typeshed" / "stdlib"
    file = stubs / module / "__init__.pyi"
    file = file if file.is_file() else stubs / f"{module}.pyi"
    tree = ast.parse(file.read_text(encoding="utf-8"))
    elsewhere, everywhere = set(), set()
    for node in tree.body:
        _sort(node, everywhere, elsewhere, windows=True)
    return elsewhere - everywhere


def _sort(node: ast.stmt, here: set[str], there: set[str], *, windows: bool) -> None:
    """Adds the names that a statement defines to those of Windows, or the others."""
    if isinstance(node, ast.If):
        test = ast.unparse(node.test)
        on_windows = "sys.platform == 'win32'" in test or "platform" not in test
        but_windows = "sys.platform != 'win32'" in test
        for part in node.body:
            _sort(part, here, there, windows=windows and on_windows and not but_windows)
        for part in node.orelse:
            _sort(part, here, there, windows=windows and not on_windows)
        return
    names = here if windows else there
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        names.add(node.name)
    elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        names.add(node.target.id)
    elif isinstance(node, ast.ImportFrom):
        names.update(alias.asname or alias.name for alias in node.names)


def fsync(descriptor: int) -> None:
    """As Windows' ``_commit``, which refuses files that are open for reading alone."""
    import fcntl

    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    if flags & os.O_ACCMODE == os.O_RDONLY:
        raise OSError(9, "Bad file descriptor")
    os.fsync(descriptor)


def install() -> None:
    """From now on modules of medseg import what Windows has."""
    import signal

    real = builtins.__import__
    masked = {
        "os": Masked(os, absent_names("os"), {"name": "nt", "fsync": fsync}),
        "signal": Masked(signal, absent_names("signal"), {}),
        "sys": Masked(sys, set(), {"platform": "win32"}),
    }

    def import_as_on_windows(
        name: str,
        globals: Any = None,  # noqa: A002 - some call it with these names
        locals: Any = None,  # noqa: A002
        fromlist: Any = (),
        level: int = 0,
    ) -> Any:
        importer = str((globals or {}).get("__name__", ""))
        if level == 0 and importer.partition(".")[0] == "medseg":
            top = name.partition(".")[0]
            if top in ABSENT:
                raise ModuleNotFoundError(f"Windows has no module {top}", name=top)
            if name in masked:
                return masked[name]
        return real(name, globals, locals, fromlist, level)

    builtins.__import__ = import_as_on_windows


install()
