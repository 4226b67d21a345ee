"""The `medseg` command: one thin verb per workflow, one file per verb."""

from medseg.cli.ending import main
from medseg.cli.verbs import app

__all__ = ["app", "main"]
