"""What a result was made with; nothing about who or where."""

import importlib.metadata
import os
import platform

_PACKAGES = ("medseg", "torch", "monai", "numpy", "scipy", "SimpleITK", "nibabel")


def describe_environment() -> dict[str, str]:
    """Versions of medseg, Python and the packages that make numbers, and the machine.

    Packages are looked up without being imported. No host name and no user.
    """
    facts = {
        "Python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "CPU cores": str(os.cpu_count() or "?"),
    }
    for name in _PACKAGES:
        try:
            facts[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return facts
