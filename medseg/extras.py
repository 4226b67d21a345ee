"""Packages that medseg can do without, and the line that brings them.

The line names the packages, not medseg: it works wherever medseg itself came from, a
checkout, a wheel file or an index.
"""

import re
from importlib.metadata import PackageNotFoundError, requires

_OF_EXTRA = re.compile(r"""extra\s*==\s*["']([\w-]+)["']""")


def how_to_install(extra: str) -> str:
    """The command that installs what an extra of medseg adds.

    Args:
        extra: As ``pyproject.toml`` names it, such as ``pacs``.
    """
    packages = packages_of(extra)
    if not packages:  # medseg itself is not installed, only found
        return f'in the checkout, pip install ".[{extra}]"'
    return "pip install " + " ".join(f'"{package}"' for package in packages)


def packages_of(extra: str) -> list[str]:
    """The packages of an extra, each with its versions; none where nothing is known."""
    try:
        requirements = requires("medseg") or []
    except PackageNotFoundError:
        return []
    found = (text.partition(";") for text in requirements)
    return [
        package.strip() for package, _, marker in found if _names(marker, extra=extra)
    ]


def _names(marker: str, *, extra: str) -> bool:
    match = _OF_EXTRA.search(marker)
    return match is not None and match[1] == extra
