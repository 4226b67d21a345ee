"""`medseg ui`: the tracking store in MLflow's pages."""

import os
import sys
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
    browser: Annotated[
        bool | None,
        typer.Option(
            "--browser/--no-browser", help="Open it; by default on a desktop only."
        ),
    ] = None,
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
    if browser is None:
        browser = has_desktop()
    tracking.show_ui(folder, port=port, browser=browser, progress=console)
    console.made({"runs": folder}, then=[following.compare()])


def has_desktop() -> bool:
    """Whether somebody sits at a terminal of a machine that can show a browser."""
    shows = sys.platform in {"darwin", "win32"}
    shows = shows or any(os.environ.get(n) for n in ("DISPLAY", "WAYLAND_DISPLAY"))
    return shows and sys.stdout.isatty() and "SSH_CONNECTION" not in os.environ
