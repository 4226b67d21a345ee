"""The configurations that come with medseg, by name.

An installed package carries them in ``medseg/configs``; in a source tree they lie in
``configs`` at its top.
"""

from pathlib import Path

from medseg.errors import MissingFileError
from medseg.setting_errors import nearest_name

_PACKAGE = Path(__file__).parent


def shipped_folder() -> Path:
    """Where the configurations are.

    Raises:
        MissingFileError: The installation is damaged.
    """
    installed, source = _PACKAGE / "configs", _PACKAGE.parent / "configs"
    if installed.is_dir():
        return installed
    if source.is_dir() and (_PACKAGE.parent / "pyproject.toml").is_file():
        return source
    raise MissingFileError(f"{installed}: not there; install medseg again")


def shipped_names() -> tuple[str, ...]:
    """Names of the configurations, sorted, such as ``hippocampus_3d``."""
    return tuple(sorted(path.stem for path in shipped_folder().glob("*.yaml")))


def find_config(path: Path) -> Path:
    """The file that a path or the name of a configuration means.

    A file of the user's goes before one of the same name that comes with medseg.

    Args:
        path: A YAML file, or a name such as ``hippocampus_3d``, with or without its
            suffix.

    Raises:
        MissingFileError: There is neither; names that are like it are said.
    """
    if path.is_file():
        return path
    name = path.name.removesuffix(".yaml")
    shipped = shipped_folder() / f"{name}.yaml"
    is_name = path.parent == Path() or path.parent == Path("configs")
    if is_name and shipped.is_file():
        return shipped
    if path.exists():
        return path
    if not is_name:
        raise MissingFileError(f"{path}: no such file or folder")
    names = shipped_names()
    raise MissingFileError(
        f"{path}: no such file, and no configuration that comes with medseg"
        f"{nearest_name(name, names)}; these are {', '.join(names)}"
    )
