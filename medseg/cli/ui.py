"""`medseg ui`: the tracking store in MLflow's pages."""

from pathlib import Path
from typing import Annotated

import typer

from medseg.cli import following
from medseg.console import Console


def ui(
    folder: Annotated[
        Path, typer.Argument(help="A run, or the folder of runs.")
    ] = Path("runs"),
    port: Annotated[int, typer.Option("--port", help="Local port.")] = 5000,
    replace_broken: Annotated[
        bool,
        typer.Option(
            "--replace-broken",
            help="Keep a broken mlflow.db under another name and begin a new one.",
        ),
    ] = False,
) -> None:
    """Open the tracking store in MLflow's pages, on this machine only.

    Example: medseg ui runs
    """
    from medseg import tracking

    console = Console()
    if replace_broken:
        tracking.replace_broken(folder, progress=console)
    tracking.show_ui(folder, port=port, progress=console)
    console.made({"runs": folder}, then=[following.compare()])
