"""The reference of the Python interface: the names at the top, then chosen rooms."""

import inspect

import medseg

ROOMS = {
    "The ground: volumes, grids, labels, errors": [
        "medseg.volume",
        "medseg.geometry",
        "medseg.labels",
        "medseg.resampling",
        "medseg.errors",
    ],
    "Files": ["medseg.io"],
    "Networks": [
        "medseg.networks.build",
        "medseg.networks.core",
        "medseg.networks.folding",
        "medseg.networks.upsampling",
    ],
    "Analysis of networks": [
        "medseg.networks.analysis.reach",
        "medseg.networks.analysis.receptive_field",
        "medseg.networks.analysis.effective_field",
        "medseg.networks.analysis.checkerboard",
        "medseg.networks.analysis.shift",
        "medseg.networks.analysis.costs",
        "medseg.networks.analysis.inspection",
    ],
    "Losses": ["medseg.losses"],
    "Evaluation": [
        "medseg.evaluation.overlap",
        "medseg.evaluation.surface",
        "medseg.evaluation.lesions",
        "medseg.evaluation.instances",
        "medseg.evaluation.statistics",
    ],
    "Phantoms for tests": [
        "medseg.testing.tiny_study",
        "medseg.testing.tiny_cells",
    ],
}
"""Rooms that scripts use; the others are for those who change medseg."""


def api_pages() -> dict[str, str]:
    """Pages of the public names and of the rooms, by file name."""
    return {"api": _front_door(), "rooms": _rooms()}


def _front_door() -> str:
    names = [name for name in medseg.__all__ if not name.startswith("__")]
    parts = [
        "# The Python interface",
        "What `import medseg` offers. Names load what they need when they are first "
        "used.",
        *(f"```{{eval-rst}}\n{_directive(name)}\n```" for name in names),
    ]
    return "\n\n".join(parts) + "\n"


def _directive(name: str) -> str:
    thing = getattr(medseg, name)
    if inspect.isclass(thing):
        return f".. autoclass:: medseg.{name}\n   :members:"
    if inspect.ismodule(thing):
        return f".. automodule:: {thing.__name__}\n   :members:"
    kind = "autofunction" if callable(thing) else "autodata"
    return f".. {kind}:: medseg.{name}"


def _rooms() -> str:
    parts = [
        "# Rooms",
        "Parts that scripts use beside the [public names](api.md). They are stable "
        "within a minor version; what is not listed here may change at any time.",
    ]
    for title, modules in ROOMS.items():
        parts.append(f"## {title}")
        for module in modules:
            parts += [
                f"### {module}",
                f"```{{eval-rst}}\n.. automodule:: {module}\n   :members:\n```",
            ]
    return "\n\n".join(parts) + "\n"
