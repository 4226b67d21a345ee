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
    root: Root = None,
    quiet: Quiet = False,
) -> None:
    """Find what is wrong with a data set; nothing on disk is changed.

    Example: medseg doctor Task04_Hippocampus
    """
    from medseg.datasets.doctor import examine, format_report, write_report

    report = examine(dataset, root=root, progress=Console(quiet=quiet))
    typer.echo(format_report(report))
    if out is not None:
        write_report(out, report)
    raise typer.Exit(report.exit_code)
