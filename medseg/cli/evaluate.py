"""`medseg evaluate`: label maps against references."""

from pathlib import Path
from typing import Annotated

import typer

from medseg.cli import following
from medseg.cli.options import Out, Quiet
from medseg.console import Console


def evaluate(
    predictions: Annotated[Path, typer.Argument(help="Folder of label maps.")],
    references: Annotated[Path, typer.Argument(help="Label maps, or a data set.")],
    out: Out,
    tolerance: Annotated[
        float, typer.Option("--tolerance", help="Surface Dice tolerance in mm.")
    ] = 1.0,
    instances: Annotated[
        bool | None,
        typer.Option(
            "--instances/--classes",
            help="Values number single objects, or name structures; found out by "
            "itself, and said.",
        ),
    ] = None,
    lesions: Annotated[
        list[str] | None,
        typer.Option(
            "--lesions", help="Structure to score lesion by lesion too, or 'all'."
        ),
    ] = None,
    only_predicted: Annotated[
        bool,
        typer.Option(
            "--only-predicted",
            help="Leave out references without a prediction, which count as missed.",
        ),
    ] = False,
    viewer: Annotated[
        bool,
        typer.Option("--viewer/--no-viewer", help="Write a viewer page for each case."),
    ] = True,
    quiet: Quiet = False,
) -> None:
    """Score label maps against references: per case, per structure, with intervals.

    Example: medseg evaluate segmented Task04_Hippocampus/labelsTr -o scores
    """
    from medseg.evaluation.settings import MetricSettings
    from medseg.reading import REMEMBERED, start_early
    from medseg.scoring.evaluate import evaluate as run
    from medseg.settings import parse_settings

    console = Console(quiet=quiet)
    named = lesions or []
    settings = parse_settings(
        MetricSettings,
        {"tolerance_mm": tolerance, "lesions": "all" if "all" in named else named},
        source="evaluate",
    )
    start_early()
    with REMEMBERED.kept_in(out):
        result = run(
            predictions,
            references,
            out,
            objects=instances,
            only_predicted=only_predicted,
            settings=settings,
            viewer=viewer,
            progress=console,
        )
    typer.echo(result.to_text())
    console.made(
        {
            "cases": out / "cases.csv",
            "summary": out / "summary.csv",
            "report": out / "report.html",
        },
        then=[following.compare()],
    )
    raise typer.Exit(1 if result.failed else 0)
