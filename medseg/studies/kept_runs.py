"""Finished runs that a study keeps: whether they were trained as it asks for now."""

from pathlib import Path

from medseg.errors import MedsegError
from medseg.progress import Progress
from medseg.runs.config import RunConfig
from medseg.settings import load_settings
from medseg.tracking.params import flatten_params

_PLACES = ("data", "root", "readers", "layouts", "tracking", "prepare", "training.init")
"""Settings that say where things are."""
_OPEN = ("None", "{}")
"""What stands for a setting that is left open."""
MOST = 4
"""Settings that are named."""


def warn_of_other_settings(run: Path, config: RunConfig, progress: Progress) -> None:
    """Says that a finished run, which is kept, was trained with other settings.

    Args:
        run: Its folder.
        config: What is asked for now.
        progress: Warned.
    """
    changed = changed_settings(run, config)
    if changed:
        shown = "; ".join(changed[:MOST]) + (", ..." if len(changed) > MOST else "")
        progress.warn(
            f"{run.name}: finished earlier with other settings, and kept: {shown}; "
            "choose another folder, or delete this run, to train it anew"
        )


def changed_settings(run: Path, config: RunConfig) -> tuple[str, ...]:
    """Settings that are asked for and that a run was not trained with, in words.

    What a configuration leaves open was decided when the run was trained, and is not
    compared; nor is anything of a run whose configuration cannot be read.
    """
    try:
        kept = load_settings(RunConfig, run / "config.yaml")
    except MedsegError:
        return ()
    had = flatten_params(kept.model_dump(mode="json"))
    asked = flatten_params(config.model_dump(mode="json", exclude_unset=True))
    return tuple(
        f"{name} was {had.get(name, 'not set')}, now {value}"
        for name, value in asked.items()
        if value not in _OPEN
        and had.get(name) != value
        and not name.startswith(_PLACES)
    )
