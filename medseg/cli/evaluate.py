"""`medseg evaluate`: label maps against references."""

from pathlib import Path
from typing import Annotated

import typer

from medseg.cli.options import Out, Quiet
from medseg.console import Console


def evaluate(
    predictions: Annotated[Path, typer.Argument(help="Folder of label maps.")],
    references: Annotated[Path, typer.Argument(help="Label maps, or a data set.")],
    out: Out,
    tolerance: Annotated[
        float, typer.Option("--tolerance", help="Surface Dice tolerance in mm.")
    ] = 1.0,
    quiet: Quiet = False,
) -> None:
    """Score label maps against references: per case, per structure, with intervals.

    Example: medseg evaluate segmented Task04_Hippocampus/labelsTr -o scores
    """
    from medseg.evaluation.settings import MetricSettings
    from medseg.scoring.evaluate import evaluate as run
    from medseg.settings import parse_settings

    console = Console(quiet=quiet)
    settings = parse_settings(
        MetricSettings, {"tolerance_mm": tolerance}, source="evaluate"
    )
    result = run(predictions, references, out, settings=settings, progress=console)
    typer.echo(result.to_text())
    raise typer.Exit(1 if result.failed else 0)
