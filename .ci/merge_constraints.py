"""Prints constraints for all Pythons from what is installed in two environments.

    .venv/bin/pip freeze > new.txt        (Python 3.11 or later)
    old/bin/pip freeze > old.txt          (Python 3.10)
    python .ci/merge_constraints.py new.txt old.txt > constraints.txt

Packages whose newest version left Python 3.10 behind get two lines with markers.
"""

import re
import sys
from pathlib import Path

HEADER = """\
# The tested set of versions: pip install -c constraints.txt -e ".[dev,demo,docs]"
# Made by .ci/merge_constraints.py from environments on Python 3.11 and 3.10.
"""


def read_freeze(path: Path) -> dict[str, str]:
    """Version of each package; local builds such as ``+cpu`` count as the version."""
    versions = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if match := re.match(r"([\w.-]+)==([^+;\s]+)", line):
            versions[re.sub(r"[-_.]+", "-", match[1]).lower()] = match[2]
    return versions


def merge(new: dict[str, str], old: dict[str, str]) -> list[str]:
    """One line per package, or two with markers where the versions differ."""
    lines = []
    for name in sorted(new | old):
        if new.get(name) == old.get(name):
            lines.append(f"{name}=={new[name]}")
            continue
        if name in new:
            marker = '; python_version >= "3.11"' if name in old else ""
            lines.append(f"{name}=={new[name]}{marker}")
        if name in old:
            lines.append(f'{name}=={old[name]}; python_version < "3.11"')
    return lines


if __name__ == "__main__":
    sets = [read_freeze(Path(name)) for name in sys.argv[1:3]]
    sys.stdout.write(HEADER + "\n".join(merge(*sets)) + "\n")
