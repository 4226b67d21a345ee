"""`medseg init`: a commented configuration for a data set."""

from pathlib import Path
from typing import Annotated

import typer

from medseg.cli import following
from medseg.cli.options import DataSet, Device, Quiet, Root
from medseg.console import Console


def init(
    dataset: DataSet,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The YAML file; else named after the data."),
    ] = None,
    root: Root = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a file that is there.")
    ] = False,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Write a commented configuration for a data set, to edit and train with.

    Some of the cases are looked at for channels, labels, dimension and modality.

    Example: medseg init Task04_Hippocampus -o hippocampus.yaml
    """
    from medseg.runs.initial_config import write_initial_config

    console = Console(quiet=quiet)
    made = write_initial_config(
        dataset,
        out,
        root=root,
        device=device,
        overwrite=overwrite,
        progress=console,
    )
    console.made(
        {"configuration": made.path},
        then=[following.train(config=made.path)],
    )
