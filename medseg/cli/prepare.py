"""`medseg prepare`: a data set into a store."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from medseg.cli import following
from medseg.cli.options import DataSet, Device, Out, Quiet, Root
from medseg.console import Console
from medseg.errors import SettingsError


def prepare(
    dataset: DataSet,
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
    from medseg.runs.prepare import prepare_dataset

    console = Console(quiet=quiet)
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
        progress=console,
    )
    console.made(
        {"store": out, "plan": out / "plan.yaml"},
        then=[following.train(data=out)],
    )


def _dims(number: int | None) -> Literal[2, 3] | None:
    if number is None:
        return None
    if number == 2:
        return 2
    if number == 3:
        return 3
    raise SettingsError(f"--dims {number}: expected 2 for slices or 3 for volumes")
