"""`medseg train`: one model, or one of every fold."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medseg.cli import following
from medseg.cli.options import Data, Device, Quiet, Root
from medseg.console import Console
from medseg.errors import MissingFileError, SettingsError

if TYPE_CHECKING:
    from medseg.runs.config import RunConfig


def train(
    config: Annotated[
        Path | None,
        typer.Argument(
            help="YAML file, or the name of a configuration that comes with medseg; "
            "without, everything is decided by the data. With --resume: the run."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The run's folder.")
    ] = None,
    data: Data = None,
    root: Root = None,
    named: Annotated[
        Path | None, typer.Option("--config", "-c", help="The same as CONFIG.")
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(
            "--init",
            help="Begin with this trained model: a run, a model folder, nnU-Net's "
            "folder, or the name of one that comes with medseg, such as nuclei.",
        ),
    ] = None,
    fold: Annotated[
        str | None,
        typer.Option(
            "--fold",
            help="Fold to hold out; 'none' trains on all cases, 'all' runs every fold.",
        ),
    ] = None,
    budget: Annotated[
        str | None, typer.Option("--budget", help="Time to train, such as 15m.")
    ] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", help="Or: epochs.")] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Or: steps.")] = None,
    networks: Annotated[
        int | None,
        typer.Option("--networks", min=1, help="Train several that predict together."),
    ] = None,
    only: Annotated[
        list[int] | None,
        typer.Option("--only", help="Of these, train this one, counted from 0."),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Continue a run to the step; only it is needed."),
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
    holds a run per fold and the scores of all cases, with --networks 4 a run per
    network (seeds one apart) and the scores of all four together; a second call
    continues a stopped one. Several GPUs or machines: torchrun --nproc-per-node 2 -m
    medseg train ... shares each batch among the processes.

    Example: medseg train --data Task04_Hippocampus --budget 15m -o runs/first

    Example: medseg train hippocampus_3d --data Task04_Hippocampus -o runs/fold0

    Example: medseg train --init runs/first --data more_cases.csv -o runs/second

    Example: medseg train --resume runs/fold0
    """
    from medseg.runs.config import read_config
    from medseg.training.process_group import is_main

    if config is not None and named is not None:
        raise SettingsError(f"{config} and --config {named}: give one of them")
    source, out = _source_and_run(named or config, out, resume=resume)
    overrides = _train_overrides(
        data=data,
        root=root,
        init=init,
        fold=_fold(fold),
        budget=None if budget is None else repr(budget),  # a text, also where it is 2
        epochs=epochs,
        steps=steps,
        cache=cache,
        tracking_uri=tracking_uri,
    )
    _refuse_conflicts(fold=fold, networks=networks, only=only)
    if resume and source is None:
        source, fold = _config_of_run(out, fold=fold, networks=networks)
    resolved = read_config(source, [*overrides, *(set_ or [])])
    console = Console(quiet=quiet or not is_main())
    if is_main():
        console.log_to(out / "run.log")
    if fold == "all" or networks:
        _train_several(
            resolved,
            out,
            networks=networks,
            only=only,
            device=device,
            console=console,
        )
        return
    from medseg.runs.train import train as run

    result = run(
        resolved, out, device=device, resume=resume, profile=profile, progress=console
    )
    if result.fit.interrupted:
        console.made({}, then=[following.resume(out)])
        raise typer.Exit(130)
    console.made(_made(out), then=[following.predict(out)])


def _train_several(
    config: "RunConfig",
    out: Path,
    *,
    networks: int | None,
    only: list[int] | None,
    device: str,
    console: Console,
) -> None:
    """A run of every fold, or networks that predict together."""
    from medseg.training.process_group import refuse_several

    if networks:
        from medseg.studies.train_ensemble import train_ensemble

        refuse_several("--networks")
        train_ensemble(
            config, out, networks=networks, only=only, device=device, progress=console
        )
    else:
        from medseg.studies.cross_validate import cross_validate

        refuse_several("--fold all")
        cross_validate(config, out, device=device, progress=console)
    if not only:
        console.made(
            {"report": out / "report.html", "scores": out / "validation"},
            then=[following.predict(out)],
        )
        return
    console.made(
        {f"network {number}": out / f"network{number}" for number in only},
        then=[(*following.resume(out), "--networks", networks)],
    )


def _made(out: Path) -> dict[str, Path]:
    return {
        "model": out / "model",
        "scores": out / "validation" / "summary.csv",
        "report": out / "report.html",
        "log": out / "run.log",
    }


def _source_and_run(
    config: Path | None, out: Path | None, *, resume: bool
) -> tuple[Path | None, Path]:
    """The configuration that was named and the run's folder.

    Raises:
        SettingsError: The run is not named.
    """
    if resume and out is None and config is not None and not config.is_file():
        return None, config
    if out is None:
        raise SettingsError(
            "name the run: medseg train --resume RUN"
            if resume
            else "name the run's folder: -o RUN"
        )
    return config, out


def _config_of_run(
    run: Path, *, fold: str | None, networks: int | None
) -> tuple[Path, str | None]:
    """The configuration of a run that was begun, and which fold it holds out.

    Raises:
        MissingFileError: There is no run.
        SettingsError: The number of networks is not known.
    """
    for first, kind in (("", fold), ("fold0", "all"), ("network0", fold)):
        path = run / first / "config.yaml"
        if not path.is_file():
            continue
        if first == "network0" and not networks:
            raise SettingsError(
                f"{run}: holds networks that predict together; say how many with "
                "--networks, as in the call that began them"
            )
        return path, kind
    raise MissingFileError(f"{run}: no run to continue: it has no config.yaml")


def _refuse_conflicts(
    *, fold: str | None, networks: int | None, only: list[int] | None
) -> None:
    """Options that do not go together are refused before anything is written.

    Raises:
        SettingsError: There are such.
    """
    if only and not networks:
        raise SettingsError("--only chooses among the networks of --networks")
    if networks and fold == "all":
        raise SettingsError(
            "--networks goes with one fold: its networks are scored together on the "
            "cases that all of them held out"
        )


def _fold(text: str | None) -> int | str | None:
    """The fold as an override; every fold in turn overrides nothing."""
    if text in (None, "all"):
        return None
    if text in ("none", "-1"):
        return "null"
    if text.isdecimal():
        return int(text)
    raise SettingsError(f"--fold {text}: expected a number from 0, 'none' or 'all'")


def _train_overrides(**values: object) -> list[str]:
    """Command-line options as overrides of the configuration.

    These are read as YAML: paths are quoted, lest one such as ``2024`` or ``on`` is a
    number or a truth.
    """
    keys = {
        "data": "data",
        "root": "root",
        "init": "training.init.model",
        "fold": "fold",
        "budget": "training.budget",
        "epochs": "training.epochs",
        "steps": "training.steps",
        "cache": "training.sampling.cache",
        "tracking_uri": "tracking.uri",
    }
    given = {name: value for name, value in values.items() if value is not None}
    lengths = {"budget", "epochs", "steps"}
    texts = {"data", "root", "init", "tracking_uri"}
    overrides = [
        f"{keys[name]}={json.dumps(str(value)) if name in texts else value}"
        for name, value in given.items()
    ]
    if lengths & set(given):  # the option replaces the configuration's own length
        unset = lengths - set(given)
        overrides = [f"training.{name}=null" for name in sorted(unset)] + overrides
    return overrides
