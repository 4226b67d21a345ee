"""`medseg convert`: into NIfTI, or from label maps into DICOM."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from medseg.cli import following
from medseg.cli.options import Key, Out, Quiet
from medseg.console import Console
from medseg.errors import SettingsError


def convert(
    scans: Annotated[
        Path,
        typer.Argument(help="A scan or any tree; with --to, label maps."),
    ],
    out: Out,
    series: Annotated[
        str | None, typer.Option("--series", help="Rule, such as Modality=CT.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse what needs a correction.")
    ] = False,
    structures: Annotated[
        str | None,
        typer.Option(
            "--structures",
            help="Labels to take from DICOM SEG and RTSTRUCT, such as "
            "'tumour=GTV*|GTV-1, heart'; the first counts where they overlap.",
        ),
    ] = None,
    to: Annotated[
        Literal["nifti", "seg", "rtstruct"],
        typer.Option("--to", help="seg, rtstruct: label maps become DICOM objects."),
    ] = "nifti",
    source: Annotated[
        Path | None,
        typer.Option("--source", help="With --to: the DICOM images they belong to."),
    ] = None,
    names: Annotated[
        str | None,
        typer.Option("--names", help="With --to: such as liver=1,tumour=2."),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option("--model", help="With --to: the model that made the labels."),
    ] = None,
    kind: Annotated[
        Literal["binary", "labelmap", "fractional"],
        typer.Option("--kind", help="With --to seg: how segments are stored."),
    ] = "binary",
    codes: Annotated[
        Path | None,
        typer.Option("--codes", help="With --to: a table of segment codes (YAML)."),
    ] = None,
    key: Key = None,
    quiet: Quiet = False,
) -> None:
    """Turn DICOM trees and other formats into NIfTI, or label maps into DICOM.

    Segmentations and structure sets among the images become label maps, and images
    with labels a data set: OUT/manifest.csv.

    Example: medseg convert studies -o nifti

    Example: medseg convert labels -o objects --to seg --source studies
    --names liver=1,tumour=2
    """
    console = Console(quiet=quiet)
    if to == "nifti":
        from medseg.conversion.convert import convert as run

        if source or names or model or codes:
            raise SettingsError("--source, --names, --model and --codes need --to")
        summary = run(
            scans,
            out,
            series=series,
            strict=strict,
            structures=structures,
            key_path=key,
            progress=console,
        )
    else:
        from medseg.conversion.dicom_export import file_tree, read_options

        if source is None:
            raise SettingsError(f"--to {to} needs --source, the DICOM images")
        options = read_options(to, kind, names=names, model=model, codes=codes)
        summary = file_tree(
            scans,
            source,
            out,
            options=options,
            series=series,
            key_path=key,
            progress=console,
        )
    console.say(f"{summary.describe()} into {out}")
    then = [following.doctor(manifest) for manifest in summary.manifests]
    if not then:
        of_scans = following.predict("MODEL", out)
        then = [of_scans if to == "nifti" else following.convert(out)]
    console.made(
        {
            "table": out / "conversion.csv",
            **{
                f"data set {number}" if number > 1 else "data set": manifest
                for number, manifest in enumerate(summary.manifests, start=1)
            },
        },
        then=then if summary.exit_code == 0 else [],
    )
    raise typer.Exit(summary.exit_code)
