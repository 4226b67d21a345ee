"""The trained models that come with medseg, by name.

Each is a model folder in ``medseg/starters``, its weights in half precision; its card
says on what it was trained, under which licence, and how it scores.
"""

from pathlib import Path

_FOLDER = Path(__file__).parent / "starters"


def starter_names() -> tuple[str, ...]:
    """Names of the models, sorted, such as ``nuclei``."""
    if not _FOLDER.is_dir():
        return ()
    return tuple(sorted(p.parent.name for p in _FOLDER.glob("*/model.yaml")))


def find_starter(path: Path) -> Path | None:
    """The folder of the model that a name means; None where there is none.

    Args:
        path: What the user named; a path that exists goes before a name.
    """
    if path.exists() or path.parent != Path() or path.name not in starter_names():
        return None
    return _FOLDER / path.name
