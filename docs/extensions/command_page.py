"""The command-line reference, made of the command itself."""

from typing import Any

from typer.main import get_command

from medseg.cli.app import app


def command_page() -> str:
    """Every verb with its arguments and options, as Markdown."""
    command: Any = get_command(app)
    parts = [
        "# The command line",
        "Made of the command itself when this page is built, as `medseg VERB --help` "
        "is. Exit codes: 0 all done; 1 some cases failed, or findings were made, "
        "each named; 2 the request cannot be carried out; 130 interrupted.",
        *(_verb(name, verb) for name, verb in command.commands.items()),
    ]
    return "\n\n".join(parts) + "\n"


def _verb(name: str, verb: Any) -> str:
    arguments = [p for p in verb.params if p.param_type_name == "argument"]
    options = [p for p in verb.params if p.param_type_name == "option"]
    usage = " ".join([f"medseg {name}", *map(_usage, arguments), "[OPTIONS]"])
    about, *examples = (verb.help or "").split("\n\nExample")
    parts = [f"## {name}", f"```\n{usage}\n```", _paragraphs(about)]
    parts += [_example(text) for text in examples]
    parts += _table("Argument", arguments) + _table("Option", options)
    return "\n\n".join(parts)


def _usage(argument: Any) -> str:
    word = argument.name.rstrip("_").upper()
    return word if argument.required else f"[{word}]"


def _paragraphs(text: str) -> str:
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


def _example(text: str) -> str:
    """The call after "Example:", and further lines as they are."""
    return "```\n" + text.lstrip("s").lstrip(":").strip() + "\n```"


def _table(title: str, parameters: list[Any]) -> list[str]:
    rows = [_row(parameter) for parameter in parameters if not parameter.hidden]
    return ["\n".join([f"| {title} | | default |", "|---|---|---|", *rows])] * bool(
        rows
    )


def _row(parameter: Any) -> str:
    names = [*parameter.opts, *parameter.secondary_opts]
    if parameter.param_type_name == "argument":
        names = [parameter.name.rstrip("_").upper()]
    words = ", ".join(f"`{name}`" for name in names)
    if parameter.multiple:
        words += " (several)"
    return f"| {words} | {_cell(parameter.help or '')} | {_default(parameter)} |"


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    if parameter.default in (None, False, ()) or parameter.show_default is False:
        return ""
    return f"`{parameter.default}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
