"""What an installation takes on disk: each extra's packages and megabytes.

Reads the packages of the Python that runs it, where medseg is installed with what is
to be measured: python benchmarks/install_size.py [--json]
"""

import argparse
import json
import re
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

EXTRAS = ("", "pacs", "onnx", "openvino", "demo", "ray", "dev")


def needed(extra: str) -> dict[str, Distribution]:
    """Packages that medseg needs with an extra, and what they need in turn."""
    found: dict[str, Distribution] = {}
    waiting = [("medseg", {extra} if extra else set())]
    while waiting:
        name, extras = waiting.pop()
        key = re.sub(r"[-_.]+", "-", name).lower()
        if key in found and not extras:
            continue
        try:
            found[key] = distribution(name)
        except PackageNotFoundError:
            continue
        waiting += list(requirements(found[key].requires or (), extras))
    found.pop("medseg", None)
    return found


def requirements(
    lines: Iterable[str], extras: set[str]
) -> Iterator[tuple[str, set[str]]]:
    for line in lines:
        wanted = Requirement(line)
        marker = wanted.marker
        if marker is None or any(marker.evaluate({"extra": e}) for e in extras | {""}):
            yield wanted.name, set(wanted.extras)


def megabytes(package: Distribution) -> float:
    files = [Path(str(file.locate())) for file in package.files or ()]
    return sum(file.stat().st_size for file in files if file.is_file()) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    as_json = parser.parse_args().json
    plain = needed("")
    for extra in EXTRAS:
        packages = needed(extra)
        added = {k: v for k, v in packages.items() if not extra or k not in plain}
        sizes = {name: megabytes(package) for name, package in added.items()}
        largest = sorted(sizes, key=sizes.__getitem__, reverse=True)[:3]
        row = {
            "extra": extra or "(none)",
            "packages": len(sizes),
            "mb": round(sum(sizes.values())),
            "largest": {name: round(sizes[name]) for name in largest},
        }
        print(json.dumps(row) if as_json else row)


if __name__ == "__main__":
    main()
