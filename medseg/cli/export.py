"""`medseg export`: a model for other programs."""

from pathlib import Path
from typing import Annotated

import typer

from medseg.cli import following
from medseg.cli.options import Model, Quiet
from medseg.console import Console


def export(
    model: Model,
    to: Annotated[str, typer.Option("--to", help="onnx, torchscript, monai-bundle.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="A folder to be made.")],
    quiet: Quiet = False,
) -> None:
    """Write a model for other programs, checked by reading it back.

    Example: medseg export runs/hippocampus_fold0 --to onnx -o hippocampus_onnx
    """
    from medseg.conversion.export import export as run

    console = Console(quiet=quiet)
    run(model, out, to=to, progress=console)
    console.made(
        {"folder": out, "how to use it": out / "README.md"},
        then=[following.predict(model)],
    )
