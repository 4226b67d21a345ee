"""`medseg pacs`: a DICOM node that segments what it is sent."""

from pathlib import Path
from typing import Annotated

import typer

from medseg.cli import following
from medseg.cli.options import (
    Device,
    Flips,
    Key,
    Model,
    Quiet,
    Reproducible,
    Settle,
    Strict,
)
from medseg.console import Console


def pacs(
    model: Model,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for objects and results.")
    ],
    allow: Annotated[
        list[str] | None,
        typer.Option("--allow", help="AE title that may send; repeatable."),
    ] = None,
    send_to: Annotated[
        str | None,
        typer.Option(
            "--send-to", help="Where results go: TITLE@HOST:PORT, or a DICOMweb URL."
        ),
    ] = None,
    fetch_from: Annotated[
        str | None,
        typer.Option("--fetch-from", help="DICOMweb URL to ask for studies."),
    ] = None,
    query: Annotated[
        str | None,
        typer.Option(
            "--query", help="Studies to ask for, such as ModalitiesInStudy=CT."
        ),
    ] = None,
    ae_title: Annotated[
        str, typer.Option("--ae-title", help="The node's own title.")
    ] = "MEDSEG",
    host: Annotated[
        str, typer.Option("--host", help="Address to listen at; 0.0.0.0 for all.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="TCP port.")] = 11112,
    settle: Settle = 30.0,
    keep_hours: Annotated[
        float, typer.Option("--keep-hours", help="How long objects stay.")
    ] = 24.0,
    tls_cert: Annotated[
        Path | None, typer.Option("--tls-cert", help="Certificate of the node (PEM).")
    ] = None,
    tls_key: Annotated[
        Path | None,
        typer.Option("--tls-key", help="Private key of the certificate (PEM)."),
    ] = None,
    tls_ca: Annotated[
        Path | None,
        typer.Option("--tls-ca", help="Authorities that are trusted (PEM)."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="A limit, such as max_object_mb=512."),
    ] = None,
    series: Annotated[
        list[str] | None, typer.Option("--series", help="DICOM series to take.")
    ] = None,
    flips: Flips = None,
    reproducible: Reproducible = False,
    strict: Strict = False,
    sr: Annotated[
        bool, typer.Option("--sr", help="Send reports of measurements along.")
    ] = False,
    key: Key = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """A DICOM node: segments the studies it is sent, sends the results back.

    Example: medseg pacs runs/liver -o node --allow ORTHANC
    --send-to ORTHANC@127.0.0.1:4242
    """
    from medseg.plugins import allowance
    from medseg.serving.pacs.service import serve
    from medseg.serving.pacs.settings import read_pacs_settings
    from medseg.serving.pacs.worker import WorkerOptions

    console = Console(quiet=quiet)
    settings = read_pacs_settings(
        set_ or [],
        allow=allow,
        send_to=send_to,
        fetch_from=fetch_from,
        query=query,
        ae_title=ae_title,
        host=host,
        port=port,
        settle=settle,
        keep_hours=keep_hours,
        tls_cert=tls_cert,
        tls_key=tls_key,
        tls_ca=tls_ca,
    )
    options = WorkerOptions(
        model,
        plugins=allowance(),
        device=device,
        series=tuple(series or ()),
        strict=strict,
        sr=sr,
        key_path=key,
        settings={"flips": flips, "reproducible": reproducible},
    )
    interrupted = serve(out, options, settings, progress=console)
    results = out / "results"
    console.made({"results": results}, then=[following.evaluate(results)])
    raise typer.Exit(130 if interrupted else 0)
