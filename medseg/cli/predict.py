"""`medseg predict`: a label map for every scan."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medseg.cli import following
from medseg.cli.options import (
    Device,
    Flips,
    Key,
    Out,
    Quiet,
    Reproducible,
    Settle,
    Strict,
)
from medseg.console import Console

if TYPE_CHECKING:
    from medseg.prediction.records import Prediction


def predict(
    model: Annotated[
        Path,
        typer.Argument(
            help="Model folder or run; several (A,B or their folder); nnU-Net's folder "
            "or a MONAI bundle; a task list (YAML); models:/NAME@ALIAS; nuclei."
        ),
    ],
    scans: Annotated[Path, typer.Argument(help="A scan, or a tree of anything.")],
    out: Out,
    flips: Flips = None,
    overlap: Annotated[
        str, typer.Option("--overlap", help="Overlap of windows, such as 0.5, or auto.")
    ] = "auto",
    max_ram: Annotated[
        str | None, typer.Option("--max-ram", help="Most memory to hold, such as 8g.")
    ] = None,
    max_vram: Annotated[
        str | None, typer.Option("--max-vram", help="Most GPU memory to hold.")
    ] = None,
    roi: Annotated[
        str, typer.Option("--roi", help="Region to segment: auto, all, body, coarse.")
    ] = "auto",
    engine: Annotated[
        str,
        typer.Option("--engine", help="auto, torch, torch-compile, onnx or openvino."),
    ] = "auto",
    precision: Annotated[
        str, typer.Option("--precision", help="auto, float32, bfloat16, float16.")
    ] = "auto",
    reproducible: Reproducible = False,
    fast: Annotated[
        bool,
        typer.Option("--fast", help="Imported models: fastest engine, if measured."),
    ] = False,
    ensemble: Annotated[
        str, typer.Option("--ensemble", help="Several models: logits, probabilities.")
    ] = "logits",
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Also write probabilities (.b2nd).")
    ] = False,
    postprocessing: Annotated[
        bool,
        typer.Option(
            "--postprocessing/--no-postprocessing",
            " /--no-postprocess",
            help="Apply the model's post-processing rules.",
        ),
    ] = True,
    page: Annotated[
        bool,
        typer.Option("--page/--no-page", help="Pictures of all scans in report.html."),
    ] = True,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Segment again what is done already.")
    ] = False,
    small_first: Annotated[
        bool, typer.Option("--small-first", help="Begin with the smallest scans.")
    ] = False,
    series: Annotated[
        list[str] | None,
        typer.Option(
            "--series",
            help="DICOM series to take, such as Modality=CT,Description~thorax; "
            "t1:RULE for one channel.",
        ),
    ] = None,
    strict: Strict = False,
    seg: Annotated[
        bool, typer.Option("--seg", help="Also write DICOM SEG for DICOM scans.")
    ] = False,
    sr: Annotated[
        bool, typer.Option("--sr", help="And DICOM reports of volumes and diameters.")
    ] = False,
    codes: Annotated[
        Path | None,
        typer.Option("--codes", help="With --seg: a table of segment codes (YAML)."),
    ] = None,
    cells_as: Annotated[
        str,
        typer.Option(
            "--cells-as", help="Also write cells as roi, geojson, ome-tiff (a,b)."
        ),
    ] = "",
    watch: Annotated[
        bool, typer.Option("--watch", help="Keep waiting for new studies.")
    ] = False,
    settle: Settle = 30.0,
    key: Key = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Write a label map for every scan, on the scan's own grid.

    Example: medseg predict runs/hippocampus_fold0 new_scans -o segmented

    An ensemble: medseg predict runs/fold0,runs/fold1 new_scans -o segmented
    """
    from medseg.inference.settings import InferenceSettings
    from medseg.io.object_files import parse_formats
    from medseg.prediction.predict import predict as run
    from medseg.prediction.segmenter import ScanOptions
    from medseg.prediction.watch import watch as run_watch
    from medseg.settings import parse_settings

    console = Console(quiet=quiet)
    values: dict[str, Any] = {
        "overlap": overlap,
        "max_ram": max_ram,
        "max_vram": max_vram,
        "roi": roi,
        "flips": flips,
        "engine": engine,
        "precision": precision,
        "reproducible": reproducible,
        "fast": fast,
        "ensemble": ensemble,
    }
    settings = parse_settings(InferenceSettings, values, source="predict")
    common: dict[str, Any] = {
        "device": device,
        "settings": settings,
        "options": ScanOptions(
            strict=strict,
            seg=seg,
            sr=sr,
            codes=codes,
            postprocess=postprocessing,
            probabilities=probabilities,
            cells_as=parse_formats(cells_as),
            page=page,
        ),
        "series": series or (),
        "key_path": key,
        "progress": console,
    }
    if watch:
        interrupted = run_watch(model, scans, out, settle=settle, **common)
        console.made(_places(out), then=[following.evaluate(out)])
        raise typer.Exit(130 if interrupted else 0)
    results = run(
        model, scans, out, overwrite=overwrite, small_first=small_first, **common
    )
    raise typer.Exit(_sum_up(results, out, console))


def _sum_up(results: "list[Prediction]", out: Path, console: Console) -> int:
    """Says how many scans were segmented; the exit code."""
    num_done = sum(result.is_segmented for result in results)
    num_failed = sum(result.failed for result in results)
    num_lacking = sum(bool(result.not_written) for result in results)
    num_suspect = sum(bool(result.doubts) for result in results)
    counts = {
        "failed": num_failed,
        "set aside": len(results) - num_done - num_failed,
        "without an output that was asked for": num_lacking,
        "suspect (unlike training)": num_suspect,
    }
    said = [f"{number} {what}" for what, number in counts.items() if number]
    whole = f"{num_done} of {len(results)} scans segmented into {out}"
    console.say(", ".join([whole, *said]))
    if unchecked := {r.unchecked for r in results if r.is_segmented and r.unchecked}:
        console.say(f"plausibility: {', '.join(sorted(unchecked))}")
    cells = [r.num_objects for r in results if r.num_objects is not None]
    if cells:
        console.say(f"{sum(cells)} cells in {len(cells)} pictures")
    console.made(_places(out), then=[following.evaluate(out)] if num_done else [])
    return 1 if num_failed or num_lacking or not num_done else 0


def _places(out: Path) -> dict[str, Path]:
    return {
        "label maps": out,
        "table": out / "predictions.csv",
        "page": out / "report.html",
        "cells": out / "cells",
    }
