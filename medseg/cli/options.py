"""Arguments and options that several verbs take."""

from pathlib import Path
from typing import Annotated

import typer

DataSet = Annotated[Path, typer.Argument(help="Data set in any understood layout.")]
Model = Annotated[Path, typer.Argument(help="Model folder, or a run.")]
Data = Annotated[
    Path | None, typer.Option("--data", help="Data set or prepared store.")
]
Root = Annotated[
    Path | None,
    typer.Option("--root", help="Folder that a manifest's paths start from."),
]
Out = Annotated[Path, typer.Option("--out", "-o", help="Where results go.")]
Strict = Annotated[
    bool, typer.Option("--strict", help="Refuse scans that need repair.")
]
Settle = Annotated[
    float, typer.Option("--settle", help="Seconds until a study is complete.")
]
Flips = Annotated[
    bool | None,
    typer.Option(
        "--flips/--no-flips",
        help="Test-time flips along the axes that training mirrored (slower); by "
        "default as for the model's scores.",
        show_default=False,
    ),
]
Reproducible = Annotated[
    bool,
    typer.Option("--reproducible", help="Only the reference engine: torch, float32."),
]
Key = Annotated[Path | None, typer.Option("--key", help="Key file of the pseudonyms.")]
Device = Annotated[
    str,
    typer.Option(
        "--device", help="auto, cpu, cuda, cuda:n, mps or xpu.", metavar="DEVICE"
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show warnings only.")]
