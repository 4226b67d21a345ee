"""`medseg demo`: the whole journey."""

from pathlib import Path
from typing import Annotated

import typer

from medseg.cli import following
from medseg.cli.options import Device, Out, Quiet
from medseg.console import Console


def demo(
    out: Out = Path("demo"),
    data: Annotated[
        Path | None, typer.Option("--data", help="Use this data set instead.")
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option("--budget", help="Training time; 3m, longer on a slow machine."),
    ] = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """The whole journey on a real brain MR template with simulated lesions.

    Example: medseg demo -o demo
    """
    from medseg.studies.demo import demo as run

    console = Console(quiet=quiet)
    trained = run(out, data=data, budget=budget, device=device, progress=console)
    console.made(
        {
            "pictures": trained / "report.html",
            "scores": out / "scores" / "summary.csv",
            "model": trained / "model",
        },
        then=[following.ui(out / "runs"), following.predict(trained)],
    )
