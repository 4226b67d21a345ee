"""The `medseg` command: one thin verb per workflow.

Exit codes: 0 all done; 1 some cases failed, or findings were made, each named; 2 the
request cannot be carried out; 130 interrupted.
"""

import sys
import warnings
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from medseg import __version__
from medseg.console import Console
from medseg.errors import MedsegError, SettingsError

app = typer.Typer(
    name="medseg",
    help="From a folder of scans to a trained, tracked, honestly scored "
    "segmentation model, and a trained model into label maps for any folder of scans.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show warnings only.")]
Device = Annotated[
    str, typer.Option("--device", help="auto, cpu, cuda or cuda:n.", metavar="DEVICE")
]
Root = Annotated[
    Path | None,
    typer.Option("--root", help="Folder that a manifest's paths start from."),
]
Out = Annotated[Path, typer.Option("--out", "-o", help="Where results go.")]


@app.callback(invoke_without_command=True)
def medseg(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and stop.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error.")
    ] = False,
) -> None:
    """Options that stand before the verb."""
    del debug  # read by `main`, which also sees errors from before this call
    if version:
        typer.echo(f"medseg {__version__}")
        raise typer.Exit


@app.command()
def doctor(
    dataset: Annotated[Path, typer.Argument(help="Data set in any understood layout.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Also write the findings here.")
    ] = None,
    root: Root = None,
    quiet: Quiet = False,
) -> None:
    """Find what is wrong with a data set; nothing on disk is changed.

    Example: medseg doctor Task04_Hippocampus
    """
    from medseg.workflows.doctor import examine, format_report, write_report

    report = examine(dataset, root=root, progress=Console(quiet=quiet))
    typer.echo(format_report(report))
    if out is not None:
        write_report(out, report)
    raise typer.Exit(report.exit_code)


@app.command()
def prepare(
    dataset: Annotated[Path, typer.Argument(help="Data set in any understood layout.")],
    out: Out,
    root: Root = None,
    plan: Annotated[
        Path | None, typer.Option("--plan", help="Use this plan instead of a new one.")
    ] = None,
    dims: Annotated[
        int | None, typer.Option("--dims", help="2 for slices, 3 for volumes.")
    ] = None,
    folds: Annotated[int, typer.Option("--folds", help="Folds, by patient.")] = 5,
    seed: Annotated[int, typer.Option("--seed", help="Decides the folds.")] = 0,
    skip_broken: Annotated[
        bool, typer.Option("--skip-broken", help="Go on without unreadable cases.")
    ] = False,
    compress: Annotated[
        bool, typer.Option("--compress", help="Smaller on disk, slower to read.")
    ] = False,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Processes.")
    ] = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Fingerprint, plan and preprocess a data set into a store.

    Example: medseg prepare Task04_Hippocampus -o stores/hippocampus
    """
    from medseg.workflows.prepare import prepare_dataset

    prepare_dataset(
        dataset,
        out,
        root=root,
        plan=plan,
        spatial_dims=_dims(dims),
        num_folds=folds,
        seed=seed,
        skip_broken=skip_broken,
        compression="lz4" if compress else "none",
        workers=workers,
        device=device,
        progress=Console(quiet=quiet),
    )


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="YAML configuration.")],
    out: Out,
    data: Annotated[
        Path | None, typer.Option("--data", help="Data set or prepared store.")
    ] = None,
    root: Root = None,
    fold: Annotated[
        str | None,
        typer.Option(
            "--fold",
            help="Fold to hold out; 'none' trains on all cases, 'all' runs every fold.",
        ),
    ] = None,
    budget: Annotated[
        str | None, typer.Option("--budget", help="Wall-clock time, such as 15m.")
    ] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", help="Or: epochs.")] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Or: steps.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in OUT, to the step.")
    ] = False,
    cache: Annotated[
        str | None,
        typer.Option("--cache", help="Training cases on: auto, gpu, ram, disk."),
    ] = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="Write a trace to OUT/profile.")
    ] = False,
    tracking_uri: Annotated[
        str | None, typer.Option("--tracking-uri", help="MLflow server.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Override, such as training.seed=1."),
    ] = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Train one model, score its held-out cases, track everything.

    Ctrl-C ends training cleanly after the step, for --resume to continue; a file
    called STOP in OUT ends it as if it were done, with scores. With --fold all OUT
    holds a run per fold and the scores of all cases; a second call continues a
    stopped one. Several GPUs or machines: torchrun --nproc-per-node 2 -m medseg train
    ... shares each batch among the processes.

    Example: medseg train configs/hippocampus_3d.yaml --data Task04_Hippocampus
    --budget 15m -o runs/hippocampus_fold0
    """
    from medseg.training.ranks import leads
    from medseg.workflows.run_config import read_config
    from medseg.workflows.train import train as run

    console = Console(quiet=quiet or not leads())
    overrides = _train_overrides(
        data=data,
        root=root,
        fold=_fold(fold),
        budget=budget,
        epochs=epochs,
        steps=steps,
        cache=cache,
        tracking_uri=tracking_uri,
    )
    resolved = read_config(config, [*overrides, *(set_ or [])])
    if leads():
        console.log_to(out / "run.log")
    if fold == "all":
        from medseg.training.ranks import refuse_several
        from medseg.workflows.cross_validate import cross_validate

        refuse_several("--fold all")
        cross_validate(resolved, out, device=device, progress=console)
        return
    result = run(
        resolved,
        out,
        device=device,
        resume=resume,
        profile=profile,
        progress=console,
    )
    if result.fit.interrupted:
        raise typer.Exit(130)


@app.command()
def predict(
    model: Annotated[
        Path,
        typer.Argument(help="Model folder or run; several (A,B or their folder)."),
    ],
    scans: Annotated[Path, typer.Argument(help="A scan, or a tree of anything.")],
    out: Out,
    flips: Annotated[
        bool,
        typer.Option(
            "--flips", help="Average over mirror images that training saw (slower)."
        ),
    ] = False,
    overlap: Annotated[
        str, typer.Option("--overlap", help="Share of a window seen twice, or auto.")
    ] = "auto",
    max_ram: Annotated[
        str | None, typer.Option("--max-ram", help="Most memory to hold, such as 8g.")
    ] = None,
    max_vram: Annotated[
        str | None, typer.Option("--max-vram", help="The same on the GPU.")
    ] = None,
    roi: Annotated[
        str, typer.Option("--roi", help="Where to look: auto, all, body or coarse.")
    ] = "auto",
    engine: Annotated[
        str,
        typer.Option("--engine", help="auto, torch, torch-compile, onnx or openvino."),
    ] = "auto",
    precision: Annotated[
        str, typer.Option("--precision", help="auto, float32, bfloat16, float16, int8.")
    ] = "auto",
    ensemble: Annotated[
        str, typer.Option("--ensemble", help="Several models: logits, probabilities.")
    ] = "logits",
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Also write them, as a .b2nd file.")
    ] = False,
    postprocessing: Annotated[
        bool,
        typer.Option(
            "--postprocessing/--no-postprocessing", help="The model's own rules."
        ),
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
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse scans that need repair.")
    ] = False,
    seg: Annotated[
        bool, typer.Option("--seg", help="Also write DICOM SEG for DICOM scans.")
    ] = False,
    codes: Annotated[
        Path | None,
        typer.Option("--codes", help="With --seg: a table of segment codes (YAML)."),
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Keep waiting for new studies.")
    ] = False,
    settle: Annotated[
        float, typer.Option("--settle", help="Seconds until a study is complete.")
    ] = 30.0,
    key: Annotated[
        Path | None, typer.Option("--key", help="Key file of the pseudonyms.")
    ] = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Write a label map for every scan, on the scan's own grid.

    Example: medseg predict runs/hippocampus_fold0 new_scans -o segmented
    An ensemble: medseg predict runs/fold0,runs/fold1 new_scans -o segmented
    """
    from medseg.inference.settings import InferenceSettings
    from medseg.settings import parse_settings
    from medseg.workflows.predict import predict as run
    from medseg.workflows.segmenter import ScanOptions
    from medseg.workflows.watch import watch as run_watch

    console = Console(quiet=quiet)
    values: dict[str, Any] = {
        "overlap": overlap,
        "max_ram": max_ram,
        "max_vram": max_vram,
        "roi": roi,
        "flips": flips,
        "engine": engine,
        "precision": precision,
        "ensemble": ensemble,
    }
    settings = parse_settings(InferenceSettings, values, source="predict")
    common: dict[str, Any] = {
        "device": device,
        "settings": settings,
        "options": ScanOptions(
            strict=strict,
            seg=seg,
            codes=codes,
            postprocess=postprocessing,
            probabilities=probabilities,
        ),
        "series": series or (),
        "key_path": key,
        "progress": console,
    }
    if watch:
        interrupted = run_watch(model, scans, out, settle=settle, **common)
        raise typer.Exit(130 if interrupted else 0)
    results = run(
        model, scans, out, overwrite=overwrite, small_first=small_first, **common
    )
    num_done = sum(result.is_segmented for result in results)
    num_failed = sum(result.failed for result in results)
    num_aside = len(results) - num_done - num_failed
    console.say(
        f"{num_done} of {len(results)} scans segmented into {out}"
        + (f", {num_failed} failed" if num_failed else "")
        + (f", {num_aside} set aside" if num_aside else "")
    )
    raise typer.Exit(1 if num_failed or not num_done else 0)


@app.command()
def pacs(
    model: Annotated[Path, typer.Argument(help="Model folder, or a run.")],
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
        typer.Option("--query", help="With it: such as ModalitiesInStudy=CT."),
    ] = None,
    ae_title: Annotated[
        str, typer.Option("--ae-title", help="The node's own title.")
    ] = "MEDSEG",
    host: Annotated[
        str, typer.Option("--host", help="Address to listen at; 0.0.0.0 for all.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="TCP port.")] = 11112,
    settle: Annotated[
        float, typer.Option("--settle", help="Seconds until a study is complete.")
    ] = 30.0,
    keep_hours: Annotated[
        float, typer.Option("--keep-hours", help="How long objects stay.")
    ] = 24.0,
    tls_cert: Annotated[
        Path | None, typer.Option("--tls-cert", help="Own certificate (PEM).")
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option("--tls-key", help="Its key (PEM).")
    ] = None,
    tls_ca: Annotated[
        Path | None, typer.Option("--tls-ca", help="Whose certificates count (PEM).")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="A limit, such as max_object_mb=512."),
    ] = None,
    series: Annotated[
        list[str] | None, typer.Option("--series", help="DICOM series to take.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse scans that need repair.")
    ] = False,
    key: Annotated[
        Path | None, typer.Option("--key", help="Key file of the pseudonyms.")
    ] = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """A DICOM node: segments the studies it is sent, sends the results back.

    Example: medseg pacs runs/liver -o node --allow ORTHANC
    --send-to ORTHANC@127.0.0.1:4242
    """
    from medseg.workflows.pacs.service import serve
    from medseg.workflows.pacs.settings import read_pacs_settings
    from medseg.workflows.pacs.worker import WorkerOptions

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
        model, device=device, series=tuple(series or ()), strict=strict, key_path=key
    )
    interrupted = serve(out, options, settings, progress=console)
    raise typer.Exit(130 if interrupted else 0)


@app.command()
def evaluate(
    predictions: Annotated[Path, typer.Argument(help="Folder of label maps.")],
    references: Annotated[Path, typer.Argument(help="Label maps, or a data set.")],
    out: Out,
    tolerance: Annotated[
        float, typer.Option("--tolerance", help="Surface Dice tolerance in mm.")
    ] = 1.0,
    quiet: Quiet = False,
) -> None:
    """Score label maps against references: per case, per structure, with intervals.

    Example: medseg evaluate segmented Task04_Hippocampus/labelsTr -o scores
    """
    from medseg.evaluation.settings import MetricSettings
    from medseg.settings import parse_settings
    from medseg.workflows.evaluate import evaluate as run

    console = Console(quiet=quiet)
    settings = parse_settings(
        MetricSettings, {"tolerance_mm": tolerance}, source="evaluate"
    )
    result = run(predictions, references, out, settings=settings, progress=console)
    typer.echo(result.to_text())
    raise typer.Exit(1 if result.failed else 0)


@app.command()
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
    key: Annotated[
        Path | None, typer.Option("--key", help="Key file of the pseudonyms.")
    ] = None,
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
        from medseg.workflows.convert import convert as run

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
        from medseg.workflows.filing import file_tree, read_options

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
    for manifest in summary.manifests:
        console.say(f"images with labels: {manifest}")
    raise typer.Exit(summary.exit_code)


@app.command()
def compare(
    study: Annotated[
        Path | None, typer.Argument(help="YAML of a study: variations and folds.")
    ] = None,
    out: Out = Path("comparison"),
    data: Annotated[
        Path | None, typer.Option("--data", help="Data set or prepared store.")
    ] = None,
    root: Root = None,
    runs: Annotated[
        list[str] | None,
        typer.Option(
            "--runs",
            help="NAME=RUN for finished runs (folder or MLflow id), no training.",
        ),
    ] = None,
    tracking_uri: Annotated[
        str | None, typer.Option("--tracking-uri", help="Where --runs finds ids.")
    ] = None,
    metric: Annotated[
        list[str] | None, typer.Option("--metric", help="With --runs: dice, nsd, ...")
    ] = None,
    slurm_script: Annotated[
        Path | None,
        typer.Option("--slurm-script", help="Only write a script for SLURM here."),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            "--task", help="One part: prepare, a run's number from 0, or compare."
        ),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            "--ray", help="Runs side by side: local, auto, or a cluster's address."
        ),
    ] = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Train variations on the same folds, and compare them case by case.

    Finished runs are kept, so a stopped study continues where it was. A study may be
    spread over machines: --slurm-script run_study.sh, then `bash run_study.sh`; or
    --ray auto.

    Example: medseg compare configs/compare_losses.yaml --data DATASET -o study
    """
    from medseg.training.ranks import refuse_several
    from medseg.workflows.compare import compare as run_study
    from medseg.workflows.compare import compare_finished

    refuse_several("medseg compare")

    if (study is None) == (not runs):
        raise SettingsError("give either the YAML of a study, or --runs NAME=RUN ...")
    console = Console(quiet=quiet)
    if study is not None and (slurm_script is not None or task is not None):
        from medseg.workflows.study_tasks import run_task, write_slurm_script

        if slurm_script is not None:
            write_slurm_script(
                slurm_script, study, out, data=data, root=root, device=device
            )
            typer.echo(f"{slurm_script}: look at its resources, then run it with bash")
        else:
            run_task(
                task or "",
                study,
                out,
                data=data,
                root=root,
                device=device,
                progress=console,
            )
        return
    if study is not None:
        console.log_to(out / "study.log")
        result = run_study(
            study,
            out,
            data=data,
            root=root,
            device=device,
            ray_address=ray,
            progress=console,
        )
    else:
        result = compare_finished(
            [_named_run(text) for text in runs or []],
            out,
            metrics=metric or ["dice"],
            tracking_uri=tracking_uri,
            progress=console,
        )
    typer.echo(result.text)
    raise typer.Exit(1 if result.failures else 0)


@app.command()
def demo(
    out: Out = Path("demo"),
    data: Annotated[
        Path | None, typer.Option("--data", help="Use this data set instead.")
    ] = None,
    budget: Annotated[str, typer.Option("--budget", help="Training time.")] = "3m",
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """The whole journey on a real brain MR template with simulated lesions.

    Example: medseg demo -o demo
    """
    from medseg.workflows.demo import demo as run

    run(out, data=data, budget=budget, device=device, progress=Console(quiet=quiet))


@app.command()
def inspect(
    source: Annotated[
        Path, typer.Argument(help="Model or run folder, plan, store or config.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for the page.")
    ] = None,
    precision: Annotated[
        str, typer.Option("--precision", help="float32, bfloat16, float16, int8.")
    ] = "float32",
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="key=value for a config.")
    ] = None,
) -> None:
    """Show what a network is, costs, sees and gets wrong, before training it.

    Example: medseg inspect runs/hippocampus_fold0 -o inspected
    """
    from medseg.networks.costs import check_precision
    from medseg.reporting.network_page import format_inspection
    from medseg.workflows.inspect import inspect as look

    found = look(
        source,
        out=out,
        precision=check_precision(precision),
        overrides=overrides,
    )
    typer.echo(format_inspection(found))


@app.command()
def export(
    model: Annotated[Path, typer.Argument(help="Model folder, or a run.")],
    to: Annotated[str, typer.Option("--to", help="onnx, torchscript, monai-bundle.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="A folder to be made.")],
    quiet: Quiet = False,
) -> None:
    """Write a model for other programs, checked by reading it back.

    Example: medseg export runs/hippocampus_fold0 --to onnx -o hippocampus_onnx
    """
    from medseg.workflows.export import export as run

    run(model, out, to=to, progress=Console(quiet=quiet))


@app.command()
def ui(
    folder: Annotated[
        Path, typer.Argument(help="A run, or the folder of runs.")
    ] = Path("runs"),
    port: Annotated[int, typer.Option("--port", help="Local port.")] = 5000,
) -> None:
    """Open the tracking store in MLflow's pages, on this machine only.

    Example: medseg ui runs
    """
    from medseg.tracking import show_ui

    show_ui(folder, port=port, progress=Console())


def _named_run(text: str) -> tuple[str, str]:
    name, equals, folder = text.partition("=")
    if not equals or not name or not folder:
        raise SettingsError(f"--runs {text}: expected NAME=RUN")
    return name, folder


def _fold(text: str | None) -> int | str | None:
    """The fold as an override; every fold in turn overrides nothing."""
    if text in (None, "all"):
        return None
    if text in ("none", "-1"):
        return "null"
    if text.isdecimal():
        return int(text)
    raise SettingsError(f"--fold {text}: expected a number from 0, 'none' or 'all'")


def _dims(number: int | None) -> Literal[2, 3] | None:
    if number is None:
        return None
    if number == 2:
        return 2
    if number == 3:
        return 3
    raise SettingsError(f"--dims {number}: expected 2 for slices or 3 for volumes")


def _train_overrides(**values: object) -> list[str]:
    """Command-line options as overrides of the configuration."""
    keys = {
        "data": "data",
        "root": "root",
        "fold": "fold",
        "budget": "training.budget",
        "epochs": "training.epochs",
        "steps": "training.steps",
        "cache": "training.sampling.cache",
        "tracking_uri": "tracking.uri",
    }
    given = {name: value for name, value in values.items() if value is not None}
    lengths = {"budget", "epochs", "steps"}
    overrides = [f"{keys[name]}={value}" for name, value in given.items()]
    if lengths & set(given):  # the option replaces the configuration's own length
        unset = lengths - set(given)
        overrides = [f"training.{name}=null" for name in sorted(unset)] + overrides
    return overrides


def main() -> None:
    """Runs the command line; errors end in one line and an exit code."""
    debug = "--debug" in sys.argv[1:]
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    warnings.showwarning = _show_warning
    try:
        code = app(args=arguments, standalone_mode=False)
    except MedsegError as error:
        code = _fail(str(error), 2)
        if debug:
            raise
    except KeyboardInterrupt:
        code = _fail("interrupted", 130)
    except (typer.Abort, EOFError):
        code = _fail("interrupted", 130)
    except Exception as error:
        if hasattr(error, "exit_code") and hasattr(error, "show"):  # wrong usage
            error.show()
            code = 2
        elif debug:
            raise
        else:
            code = _fail(f"{_in_words(error)} (a defect; --debug shows where)", 2)
    sys.exit(code if isinstance(code, int) else 0)


def _in_words(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _fail(message: str, code: int) -> int:
    typer.echo(f"medseg: {message}", err=True)
    return code


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: object = None,
    line: str | None = None,
) -> None:
    """Our own warnings as one line; those of libraries stay silent."""
    del lineno, file, line
    if category.__module__.startswith("medseg") or "/medseg/" in filename:
        typer.echo(f"medseg: warning: {message}", err=True)
