"""`medseg doctor`: what is wrong with a data set."""

from pathlib import Path
from typing import Annotated

import typer

from medseg.cli.options import DataSet, Quiet, Root
from medseg.console import Console


def doctor(
    dataset: DataSet,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Also write the findings here.")
    ] = None,
    repair: Annotated[
        Path | None,
        typer.Option(
            "--repair",
            help="Write corrected copies, a manifest and what was changed here.",
        ),
    ] = None,
    root: Root = None,
    quiet: Quiet = False,
) -> None:
    """Find what is wrong with a data set; none of its files is changed.

    Example: medseg doctor Task04_Hippocampus
    """
    from medseg.datasets.doctor import examine, format_report, write_report

    progress = Console(quiet=quiet)
    report = examine(dataset, root=root, progress=progress)
    typer.echo(format_report(report))
    if out is not None:
        write_report(out, report)
    if repair is not None:
        from medseg.datasets.repair import repair as write_repairs

        typer.echo(write_repairs(report, repair, progress=progress).describe())
    raise typer.Exit(report.exit_code)
