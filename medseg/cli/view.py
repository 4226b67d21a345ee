"""`medseg view`: cases to look at, and a desk for own pictures, in a browser."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medseg.cli import following
from medseg.cli.options import Device
from medseg.console import Console

if TYPE_CHECKING:
    from medseg.serving.viewer.cases import CaseList


def view(
    target: Annotated[
        Path | None,
        typer.Argument(
            help="A run, the output of predict or evaluate, a scan or folder of scans; "
            "without one: a page to drop pictures on."
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Argument(help="Label map of the scan, or the folder of label maps."),
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option("--reference", help="Label maps to compare with."),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option("--model", help="Model or run that names the label values."),
    ] = None,
    models: Annotated[
        Path, typer.Option("--models", help="Where the page looks for models.")
    ] = Path(),
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Write a page that stands alone (.html) instead of serving it; "
            "without a target: the folder that keeps results.",
        ),
    ] = None,
    port: Annotated[
        int, typer.Option("--port", help="Local port; 0 takes a free one.")
    ] = 0,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page.")
    ] = True,
    device: Device = "auto",
) -> None:
    """Look at cases in a browser, on this machine only.

    Example: medseg view runs/hippocampus_fold0

    One case as a file: medseg view scan.nii.gz labels.nii.gz -o case.html
    """
    from medseg.serving.viewer.cases import cases_in, cases_of_files
    from medseg.serving.viewer.desk import Desk, find_models
    from medseg.serving.viewer.serve import serve

    console = Console()
    if target is None:
        with ExitStack() as stack:
            desk = Desk(_folder(out, stack), find_models(models), device=device)
            serve(None, desk=desk, port=port, open_browser=browser, progress=console)
        kept = {} if out is None else {"results": out}
        console.made(kept, then=[following.predict("MODEL")])
        return
    if labels is None:
        cases = cases_in(target)
    else:
        cases = cases_of_files(
            target, labels, reference=reference, model=model, progress=console
        )
    if out is not None:
        _write(out, cases, console)
    else:
        serve(cases, port=port, open_browser=browser, progress=console)
    made = {} if out is None else {"page": out}
    console.made(made, then=[following.view(target)])


def _folder(out: Path | None, stack: ExitStack) -> Path:
    """Where a desk keeps what it is given; by default until the program ends."""
    from tempfile import TemporaryDirectory

    if out is not None:
        return out
    return Path(stack.enter_context(TemporaryDirectory(prefix="medseg_view_")))


def _write(out: Path, cases: "CaseList", console: Console) -> None:
    """Writes the page of the only case."""
    from medseg.errors import SettingsError
    from medseg.reporting.viewer.page import write_viewer_page

    read = cases.entries[0].read
    if read is None or len(cases.entries) > 1:
        raise SettingsError(
            f"-o writes the page of one case, of {len(cases.entries)} here; name one "
            "scan and its labels: medseg view scan.nii.gz labels.nii.gz -o case.html"
        )
    write_viewer_page(out, read(), alone=True)
