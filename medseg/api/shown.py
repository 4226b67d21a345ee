"""How a call from Python shows how far it is."""

from typing import TypeAlias

from medseg.console import Console
from medseg.progress import Progress, Silent

ShowProgress: TypeAlias = bool | Progress
"""True: bars and lines, in a notebook, too; False: nothing; or who is to be told."""


def shown(progress: ShowProgress) -> Progress:
    """Who is told of progress."""
    if isinstance(progress, bool):
        return Console() if progress else Silent()
    return progress
