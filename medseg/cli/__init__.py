"""The `medseg` command: one thin verb per workflow, one file per verb."""

from medseg.cli.app import app
from medseg.cli.main import main

__all__ = ["app", "main"]
