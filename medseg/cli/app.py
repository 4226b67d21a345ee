"""The `medseg` command and its verbs, in the order that its help names them."""

from typing import Annotated

import typer

from medseg import __version__
from medseg.cli.compare import compare
from medseg.cli.convert import convert
from medseg.cli.demo import demo
from medseg.cli.doctor import doctor
from medseg.cli.evaluate import evaluate
from medseg.cli.export import export
from medseg.cli.import_model import import_model
from medseg.cli.init import init
from medseg.cli.inspect import inspect
from medseg.cli.pacs import pacs
from medseg.cli.predict import predict
from medseg.cli.prepare import prepare
from medseg.cli.train import train
from medseg.cli.ui import ui
from medseg.cli.view import view

app = typer.Typer(
    name="medseg",
    help="From a folder of scans to a trained, tracked, honestly scored "
    "segmentation model, and a trained model into label maps for any folder of scans.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def medseg(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and stop.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error.")
    ] = False,
    plugin: Annotated[
        list[str] | None,
        typer.Option(
            "--plugin",
            help="Code that may run: my_file.py, package, package.module:Name.",
        ),
    ] = None,
) -> None:
    """Options that may stand before or behind the verb."""
    del debug, plugin  # read by `main`, which also sees errors from before this call
    if version:
        typer.echo(f"medseg {__version__}")
        raise typer.Exit


app.command()(doctor)
app.command()(init)
app.command()(prepare)
app.command()(train)
app.command()(predict)
app.command()(pacs)
app.command()(evaluate)
app.command()(convert)
app.command()(compare)
app.command()(demo)
app.command()(inspect)
app.command()(export)
app.command("import")(import_model)
app.command()(view)
app.command()(ui)
