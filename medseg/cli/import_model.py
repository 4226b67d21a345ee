"""`medseg import`: another tool's trained model as a model folder."""

from pathlib import Path
from typing import Annotated

import typer

from medseg.cli import following
from medseg.cli.options import Device, Quiet
from medseg.console import Console


def import_model(
    source: Annotated[
        Path,
        typer.Argument(
            help="A trained nnU-Net v2 model or a MONAI bundle: folder or zip."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="A folder to be made.")],
    configuration: Annotated[
        str | None,
        typer.Option("--configuration", help="Where there are several: 3d_fullres."),
    ] = None,
    previous: Annotated[
        Path | None,
        typer.Option("--previous", help="Of a cascade: the first stage's folder."),
    ] = None,
    orientation: Annotated[
        str | None,
        typer.Option(
            "--orientation", help="Axes of the training files, if known: LPS, RAS."
        ),
    ] = None,
    as_planned: Annotated[
        bool,
        typer.Option(
            "--as-planned", help="The trainer builds the network of its plans."
        ),
    ] = False,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Of a bundle: pixdim=[1.5,1.5,1.5] and such."),
    ] = None,
    calibrate: Annotated[
        Path | None,
        typer.Option("--calibrate", help="Scans to measure fast mode on."),
    ] = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Write another tool's trained model as a model folder; nothing in it is run.

    Example: medseg import nnUNetTrainer__nnUNetPlans__3d_fullres -o liver

    A MONAI bundle: medseg import spleen_ct_segmentation.zip -o spleen
    """
    from medseg.conversion.import_model import import_model as run

    console = Console(quiet=quiet)
    run(
        source,
        out,
        configuration=configuration,
        previous=previous,
        orientation=orientation,
        as_planned=as_planned,
        overrides=set_ or [],
        calibrate=calibrate,
        device=device,
        progress=console,
    )
    console.made({"model": out}, then=[following.predict(out)])
