"""`medseg doctor`: what is wrong with a data set."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medseg.cli import following
from medseg.cli.options import DataSet, Quiet, Root
from medseg.console import Console

if TYPE_CHECKING:
    from medseg.datasets.doctor import Report


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
    places = {"findings": out, "repaired": repair}
    progress.made(
        {what: path for what, path in places.items() if path is not None},
        then=[_following(repair or dataset, report, repaired=repair is not None)],
    )
    raise typer.Exit(report.exit_code)


def _following(data: Path, report: "Report", *, repaired: bool) -> following.Words:
    """The command after an examination: repair what is wrong, else train."""
    if any(finding.severity == "error" for finding in report.findings) and not repaired:
        return following.repair(data)
    return following.train(data=data)
