"""`medseg compare`: variations on the same folds."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medseg.cli import following
from medseg.cli.options import Data, Device, Out, Quiet, Root
from medseg.console import Console
from medseg.errors import SettingsError

if TYPE_CHECKING:
    from medseg.studies.study import StudyChanges


def compare(
    study: Annotated[
        Path | None, typer.Argument(help="YAML of a study: variations and folds.")
    ] = None,
    out: Out = Path("comparison"),
    data: Data = None,
    root: Root = None,
    budget: Annotated[
        str | None,
        typer.Option("--budget", help="Time for each run, such as 15m; else as in it."),
    ] = None,
    folds: Annotated[
        str | None, typer.Option("--folds", help="Such as 0,1,2; else as in the YAML.")
    ] = None,
    seeds: Annotated[
        str | None, typer.Option("--seeds", help="Such as 0,1,2; else as in the YAML.")
    ] = None,
    runs: Annotated[
        list[str] | None,
        typer.Option(
            "--runs",
            help="NAME=RUN for finished runs (folder or MLflow id), no training.",
        ),
    ] = None,
    tracking_uri: Annotated[
        str | None,
        typer.Option("--tracking-uri", help="Tracking store of the ids in --runs."),
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

    Quicker: medseg compare compare_losses --data DATASET --folds 0 --budget 1m -o study
    """
    from medseg.studies.compare import compare as run_study
    from medseg.studies.compare import compare_finished
    from medseg.studies.study import StudyChanges
    from medseg.training.process_group import refuse_several

    refuse_several("medseg compare")

    if (study is None) == (not runs):
        raise SettingsError("give either the YAML of a study, or --runs NAME=RUN ...")
    changes = StudyChanges(budget, _numbers("folds", folds), _numbers("seeds", seeds))
    if study is None and changes.values:
        raise SettingsError(
            "--budget, --folds and --seeds are for a study that is trained; runs that "
            "are named with --runs are finished"
        )
    console = Console(quiet=quiet)
    if study is not None and (slurm_script is not None or task is not None):
        _one_part(
            study,
            out,
            slurm_script=slurm_script,
            task=task,
            data=data,
            root=root,
            changes=changes,
            device=device,
            console=console,
        )
        return
    if study is not None:
        console.log_to(out / "study.log")
        result = run_study(
            study,
            out,
            data=data,
            root=root,
            changes=changes,
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
    console.made(
        {"report": out / "report.html", "statistics": out / "statistics.csv"},
        then=[
            following.predict("RUN") if study is None else following.ui(out / "runs")
        ],
    )
    raise typer.Exit(1 if result.failures else 0)


def _one_part(
    study: Path,
    out: Path,
    *,
    slurm_script: Path | None,
    task: str | None,
    data: Path | None,
    root: Path | None,
    changes: "StudyChanges",
    device: str,
    console: Console,
) -> None:
    """The script that spreads a study over machines, or what one of them does."""
    from medseg.studies.tasks import run_task, write_slurm_script

    if slurm_script is not None:
        write_slurm_script(
            slurm_script,
            study,
            out,
            data=data,
            root=root,
            changes=changes,
            device=device,
        )
        console.say(f"{slurm_script}: look at its resources, then run it")
        console.made({"script": slurm_script}, then=[("bash", slurm_script)])
        return
    run_task(
        task or "",
        study,
        out,
        data=data,
        root=root,
        changes=changes,
        device=device,
        progress=console,
    )
    rest = () if data is None else ("--data", data)
    last = ("medseg", "compare", study, *rest, "-o", out, "--task", "compare")
    console.made({"study": out}, then=[last] if task != "compare" else [])


def _numbers(name: str, text: str | None) -> tuple[int, ...]:
    """Whole numbers in a list with commas.

    Raises:
        SettingsError: It is something else.
    """
    if text is None:
        return ()
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts) or len(set(parts)) < len(parts):
        raise SettingsError(
            f"--{name} {text}: expected different whole numbers with commas between, "
            "such as 0,1,2"
        )
    return tuple(int(part) for part in parts)


def _named_run(text: str) -> tuple[str, str]:
    name, equals, folder = text.partition("=")
    if not equals or not name or not folder:
        raise SettingsError(f"--runs {text}: expected NAME=RUN")
    return name, folder
