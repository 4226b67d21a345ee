"""`medseg inspect`: what a network is, before it is trained."""

from pathlib import Path
from typing import Annotated

import typer

from medseg.cli import following
from medseg.console import Console


def inspect(
    source: Annotated[
        Path, typer.Argument(help="Model or run folder, plan, store or config.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for the page.")
    ] = None,
    precision: Annotated[
        str, typer.Option("--precision", help="float32, bfloat16, float16.")
    ] = "float32",
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="key=value for a config.")
    ] = None,
    channels: Annotated[
        int | None,
        typer.Option(
            "--channels", min=1, help="Channels of an image, where no data says so (1)."
        ),
    ] = None,
    classes: Annotated[
        int | None,
        typer.Option(
            "--classes",
            min=2,
            help="Classes with background, where no data says so (2).",
        ),
    ] = None,
) -> None:
    """Show what a network is, costs, sees and gets wrong, before training it.

    Example: medseg inspect runs/hippocampus_fold0 -o inspected
    """
    from medseg.networks.analysis.costs import check_precision
    from medseg.reporting.network_page import format_inspection
    from medseg.studies.inspect import inspect as look

    found = look(
        source,
        out=out,
        precision=check_precision(precision),
        overrides=overrides,
        channels=channels,
        classes=classes,
    )
    typer.echo(format_inspection(found))
    pages = {}
    if out is not None:
        pages = {"page": out / "inspect.html", "picture": out / "inspect.png"}
    Console().made(pages, then=[_following(source)])


def _following(source: Path) -> following.Words:
    """A model is used; a configuration, a plan or a store is trained with."""
    from medseg.shipped_models import find_starter

    is_model = any((source / name).exists() for name in ("model.yaml", "model"))
    if is_model or find_starter(source):
        return following.predict(source)
    if source.is_dir():
        return following.train(data=source)
    return following.train(data="DATASET", config=source)
