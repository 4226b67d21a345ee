"""`medseg train`: one model, or one of every fold."""

import json
from pathlib import Path
from typing import Annotated

import typer

from medseg.cli.options import Data, Device, Out, Quiet, Root
from medseg.console import Console
from medseg.errors import SettingsError


def train(
    config: Annotated[Path, typer.Argument(help="YAML configuration.")],
    out: Out,
    data: Data = None,
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
    networks: Annotated[
        int | None,
        typer.Option("--networks", min=1, help="Train several that predict together."),
    ] = None,
    only: Annotated[
        list[int] | None,
        typer.Option("--only", help="Of these, train this one, counted from 0."),
    ] = None,
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
    holds a run per fold and the scores of all cases, with --networks 4 a run per
    network (seeds one apart) and the scores of all four together; a second call
    continues a stopped one. Several GPUs or machines: torchrun --nproc-per-node 2 -m
    medseg train ... shares each batch among the processes.

    Example: medseg train configs/hippocampus_3d.yaml --data Task04_Hippocampus
    --budget 15m -o runs/hippocampus_fold0
    """
    from medseg.runs.config import read_config
    from medseg.runs.train import train as run
    from medseg.training.process_group import is_main

    console = Console(quiet=quiet or not is_main())
    overrides = _train_overrides(
        data=data,
        root=root,
        fold=_fold(fold),
        budget=None if budget is None else repr(budget),  # a text, also where it is 2
        epochs=epochs,
        steps=steps,
        cache=cache,
        tracking_uri=tracking_uri,
    )
    _refuse_conflicts(fold=fold, networks=networks, only=only)
    resolved = read_config(config, [*overrides, *(set_ or [])])
    if is_main():
        console.log_to(out / "run.log")
    if fold == "all":
        from medseg.studies.cross_validate import cross_validate
        from medseg.training.process_group import refuse_several

        refuse_several("--fold all")
        cross_validate(resolved, out, device=device, progress=console)
        return
    if networks:
        from medseg.studies.train_ensemble import train_ensemble
        from medseg.training.process_group import refuse_several

        refuse_several("--networks")
        train_ensemble(
            resolved,
            out,
            networks=networks,
            only=only,
            device=device,
            progress=console,
        )
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
        "fold": "fold",
        "budget": "training.budget",
        "epochs": "training.epochs",
        "steps": "training.steps",
        "cache": "training.sampling.cache",
        "tracking_uri": "tracking.uri",
    }
    given = {name: value for name, value in values.items() if value is not None}
    lengths = {"budget", "epochs", "steps"}
    texts = {"data", "root", "tracking_uri"}
    overrides = [
        f"{keys[name]}={json.dumps(str(value)) if name in texts else value}"
        for name, value in given.items()
    ]
    if lengths & set(given):  # the option replaces the configuration's own length
        unset = lengths - set(given)
        overrides = [f"training.{name}=null" for name in sorted(unset)] + overrides
    return overrides
